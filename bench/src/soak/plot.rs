//! A plot as an SVG file: lines over minutes, with the second half marked.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::judge::Trend;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
/// Room for the axes and the title.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 40.0;
/// Told apart by people who see no red or green, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#8a8a8a"];
/// Lines of the grid, about.
const TICKS: f64 = 5.0;

/// A line of a plot.
pub(super) struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Lines over time.
pub(super) struct Plot {
    title: String,
    unit: String,
    /// Where the second half begins, in minutes.
    half: f64,
    lines: Vec<Line>,
    trend: Option<Trend>,
}

impl Plot {
    pub(super) fn new(title: &str, unit: &str, half: f64) -> Self {
        let (title, unit) = (title.to_owned(), unit.to_owned());
        Self { title, unit, half, lines: Vec::new(), trend: None }
    }

    pub(super) fn line(mut self, name: &str, at: &[f64], values: &[f64]) -> Self {
        let points = at.iter().copied().zip(values.iter().copied()).collect();
        self.lines.push(Line { name: name.to_owned(), points });
        self
    }

    /// What is judged of the second half.
    pub(super) fn trend(mut self, trend: Trend) -> Self {
        self.trend = Some(trend);
        self
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, self.svg())?)
    }

    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let minutes = points().map(|(at, _)| *at).fold(1e-9, f64::max);
        let (step, top) = scale(points().map(|(_, value)| *value).fold(0.0, f64::max));
        let x = |at: f64| LEFT + at / minutes * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{} ({})</text>\n",
            text(&self.title),
            text(&self.unit)
        );
        let (from, bottom) = (x(self.half.min(minutes)), HEIGHT - BOTTOM);
        let (shaded, tall) = (x(minutes) - from, bottom - TOP);
        add(
            &mut svg,
            &format!(
                "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{shaded:.1}\" height=\"{tall:.1}\" fill=\"#f1f5f9\"/>"
            ),
        );
        add(&mut svg, &words(from + 6.0, TOP + 14.0, "start", "#64748b", "judged"));
        self.grid(&mut svg, (step, top), minutes, (&x, &y));
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let path: Vec<String> =
                line.points.iter().map(|(at, v)| format!("{:.1},{:.1}", x(*at), y(*v))).collect();
            add(
                &mut svg,
                &format!(
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>",
                    path.join(" ")
                ),
            );
        }
        if let Some(trend) = &self.trend {
            let end = trend.start + trend.slope * (minutes - trend.from);
            let (x1, y1, x2, y2) = (from, y(trend.start), x(minutes), y(end));
            add(
                &mut svg,
                &format!(
                    "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#111\" \
                 stroke-dasharray=\"5 4\"/>"
                ),
            );
        }
        self.legend(&mut svg);
        svg + "</svg>\n"
    }

    fn grid(
        &self,
        svg: &mut String,
        (step, top): (f64, f64),
        minutes: f64,
        (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
    ) {
        let steps = (top / step).round() as u32;
        for value in (0..=steps).map(|n| f64::from(n) * step) {
            let (at, end) = (y(value), WIDTH - RIGHT);
            add(
                svg,
                &format!(
                    "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\" stroke=\"#d4d4d8\"/>"
                ),
            );
            add(svg, &words(LEFT - 8.0, at + 4.0, "end", "#333", &number(value, step)));
        }
        let (step, _) = scale(minutes);
        let mut at = 0.0;
        while at <= minutes * 1.000_001 {
            let below = HEIGHT - BOTTOM + 18.0;
            add(svg, &words(x(at), below, "middle", "#333", &number(at, step)));
            at += step;
        }
        add(svg, &words(WIDTH - RIGHT, HEIGHT - 6.0, "end", "#333", "minutes"));
    }

    /// Names of lines, where there are several, and of the trend.
    fn legend(&self, svg: &mut String) {
        let mut at = LEFT;
        let several = self.lines.iter().zip(COLOURS).filter(|_| self.lines.len() > 1);
        for (line, colour) in several {
            add(svg, &words(at, 40.0, "start", colour, &format!("— {}", line.name)));
            at += 34.0 + 6.4 * line.name.chars().count() as f64;
        }
        if self.trend.is_some() {
            add(svg, &words(WIDTH - RIGHT, 20.0, "end", "#111", "- - Theil–Sen slope"));
        }
    }
}

fn add(svg: &mut String, element: &str) {
    svg.push_str(element);
    svg.push('\n');
}

fn words(x: f64, y: f64, anchor: &str, colour: &str, what: &str) -> String {
    let mut element = String::new();
    // A text takes whatever it is given.
    let _ = write!(
        element,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        text(what)
    );
    element
}

fn text(what: &str) -> String {
    what.replace('&', "&amp;").replace('<', "&lt;")
}

/// A step of 1, 2 or 5 times a power of ten, and the multiple of it that reaches the largest value.
fn scale(largest: f64) -> (f64, f64) {
    if largest <= 0.0 || !largest.is_finite() {
        return (1.0, 1.0);
    }
    let rough = largest / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| n * power >= rough).unwrap_or(10.0) * power;
    (step, (largest / step).ceil() * step)
}

/// With as many places as its step has, thousands apart.
fn number(value: f64, step: f64) -> String {
    if step < 1.0 {
        let places = (-step.log10()).ceil() as usize;
        return format!("{value:.places$}");
    }
    let digits = format!("{value:.0}");
    let mut apart = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_reach_the_top() {
        assert_eq!(scale(97.0), (20.0, 100.0));
        assert_eq!(scale(101.0), (50.0, 150.0));
        assert_eq!(scale(0.0), (1.0, 1.0));
        let (step, top) = scale(0.37);
        assert!((step - 0.1).abs() < 1e-12 && (top - 0.4).abs() < 1e-12);
        assert_eq!(
            (number(1_234_567.0, 500.0), number(0.3, 0.1)),
            ("1,234,567".into(), "0.3".into())
        );
        assert_eq!(number(900.0, 100.0), "900");
    }

    #[test]
    fn a_plot_has_its_lines_within_it() {
        let at: Vec<f64> = (0..20).map(f64::from).collect();
        let values: Vec<f64> = at.iter().map(|at| 100.0 + at).collect();
        let trend = Trend { from: 10.0, start: 110.0, slope: 1.0 };
        let plot = Plot::new("memory", "MiB", 10.0).line("a<b", &at, &values);
        let svg = plot.line("other", &at, &at).trend(trend).svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(
            svg.contains("a&lt;b") && svg.contains("stroke-dasharray") && svg.ends_with("</svg>\n")
        );
        for points in svg.split("points=\"").skip(1) {
            let points = points.split('"').next().expect("an end");
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').expect("two numbers");
                let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                assert!((LEFT..=WIDTH).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
            }
        }
    }
}
