//! The report as one HTML file: inline SVG, no script, nothing from elsewhere, light or dark as its
//! reader has it.

use std::fmt::Write;

use super::report::{Chart, Points, ProfileReport, StepReport};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Room for labels left and below.
const LEFT: f64 = 64.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 8.0;
/// More points than these cannot be told apart.
const POINTS_MAX: usize = 720;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#6a737d;--line:#d8dee4;--a:#0b6bcb;--b:#c2410c}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#8b949e;--line:#30363d;--a:#58a6ff;--b:#ffa657}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:760px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1rem;margin:1.6rem 0 .2rem}svg{width:100%;height:auto}\
text{fill:var(--soft);font:11px system-ui,sans-serif}.s0{stroke:var(--a)}.s1{stroke:var(--b)}\
polyline{fill:none;stroke-width:1.5;stroke-linejoin:round}.grid{stroke:var(--line)}\
.k0{color:var(--a)}.k1{color:var(--b)}.key{font-size:.85rem;color:var(--soft)}\
table{border-collapse:collapse;width:100%}td,th{text-align:right;padding:.15rem .5rem;border-bottom:1px solid var(--line)}\
.verdict{border-left:4px solid var(--a);padding:.4rem .8rem}.bad{border-color:var(--b)}pre{white-space:pre-wrap;font-size:.85rem}";

/// The whole file.
pub(crate) fn page(report: &ProfileReport) -> String {
    let profile = format!("{:?}", report.profile).to_lowercase();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>tally load: {profile}</title>\
         <style>{STYLE}</style></head><body>\n<h1>tally load --profile {profile}</h1>\n"
    );
    let class = if report.is_good() { "verdict" } else { "verdict bad" };
    let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escape(&report.verdict.to_string()));
    let _ = writeln!(out, "<pre>{}</pre>", escape(&report.run.to_string()));
    steps(&mut out, &report.steps);
    let ends: Vec<f64> = report.steps.iter().map(|step| step.end).collect();
    for chart in report.charts() {
        draw(&mut out, &chart, &ends);
    }
    out.push_str("</body></html>\n");
    out
}

fn steps(out: &mut String, steps: &[StepReport]) {
    if steps.len() < 2 {
        return;
    }
    out.push_str(
        "<table><tr><th>seconds</th><th>due /s</th><th>answered /s</th><th>p99 ms</th><th></th></tr>\n",
    );
    for StepReport { start, end, figures, saturated } in steps {
        let found = saturated.as_ref().map_or(String::new(), |found| found.component.to_string());
        let _ = writeln!(
            out,
            "<tr><td>{start:.0} to {end:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.1}</td><td>{found}</td></tr>",
            figures.offered, figures.answered, figures.p99_ms
        );
    }
    out.push_str("</table>\n");
}

/// From seconds and values to places in the drawing.
struct Scale {
    until: f64,
    most: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT) * (seconds / self.until).min(1.0)
    }

    fn y(&self, value: f64) -> f64 {
        ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }
}

/// A chart with its heading; nothing where nothing is known.
fn draw(out: &mut String, chart: &Chart, marks: &[f64]) {
    let all = || chart.series.iter().flat_map(|(_, points)| points);
    let known: Vec<f64> = all().filter_map(|point| point.1).filter(|v| v.is_finite()).collect();
    let until = all().map(|point| point.0).fold(0.0, f64::max);
    if known.is_empty() || until <= 0.0 {
        return;
    }
    let scale = Scale { until, most: known.iter().copied().fold(f64::MIN_POSITIVE, f64::max) };
    let heading = match chart.unit {
        "" => chart.title.to_owned(),
        unit => format!("{} ({unit})", chart.title),
    };
    let _ = write!(out, "<h2>{}</h2>\n<p class=\"key\">", escape(&heading));
    for (i, (name, _)) in chart.series.iter().enumerate() {
        let _ = write!(out, "<span class=\"k{i}\">&#9632;</span> {} &nbsp;", escape(name));
    }
    let _ = write!(
        out,
        "</p>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(chart.title)
    );
    frame(out, &scale, marks);
    for (i, (_, points)) in chart.series.iter().enumerate() {
        for line in lines(points) {
            let place =
                |(at, value): &(f64, f64)| format!("{:.1},{:.1}", scale.x(*at), scale.y(*value));
            let path: Vec<String> = line.iter().map(place).collect();
            let _ = write!(out, "<polyline class=\"s{i}\" points=\"{}\"/>", path.join(" "));
        }
    }
    out.push_str("</svg>\n");
}

/// Lines to read values by, and where steps ended.
fn frame(out: &mut String, scale: &Scale, marks: &[f64]) {
    for value in [0.0, scale.most / 2.0, scale.most] {
        let (at, label) = (scale.y(value), short(value));
        let (left, below) = (LEFT - 6.0, at + 4.0);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{left:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{label}</text>"
        );
    }
    for mark in marks.iter().filter(|mark| **mark < scale.until) {
        let (at, bottom) = (scale.x(*mark), HEIGHT - BELOW);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{ABOVE}\" y2=\"{bottom}\"/>"
        );
    }
    let (foot, until) = (HEIGHT - 6.0, scale.until);
    let _ = write!(
        out,
        "<text x=\"{LEFT}\" y=\"{foot}\">0 s</text>\
         <text x=\"{WIDTH}\" y=\"{foot}\" text-anchor=\"end\">{until:.0} s</text>"
    );
}

/// Unbroken lines. Of neighbours that fall together the highest stays: a peak is what one looks for.
fn lines(points: &Points) -> Vec<Vec<(f64, f64)>> {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let picked = points.chunks(each).map(|chunk| {
        let known = chunk.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
        known.filter(|(_, value)| value.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1))
    });
    let picked: Vec<Option<(f64, f64)>> = picked.collect();
    let runs = picked.split(|point| point.is_none());
    runs.filter(|run| !run.is_empty()).map(|run| run.iter().flatten().copied().collect()).collect()
}

/// `1234567` as `1.2M`.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}G", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v if v >= 100.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_breaks_a_line_and_peaks_stay() {
        let mut points: Points = (0..10).map(|i| (f64::from(i), Some(1.0))).collect();
        points[4].1 = None;
        assert_eq!(lines(&points).iter().map(Vec::len).collect::<Vec<_>>(), [4, 5]);
        let mut many: Points = (0..10_000).map(|i| (f64::from(i), Some(1.0))).collect();
        many[5_003].1 = Some(9.0);
        let line = &lines(&many)[0];
        assert!(line.len() <= POINTS_MAX && line.contains(&(5_003.0, 9.0)));
    }

    #[test]
    fn what_is_drawn_stays_in_its_frame_and_what_is_not_known_is_left_out() {
        let points: Points = vec![(1.0, Some(-5.0)), (2.0, Some(f64::NAN)), (3.0, Some(7.0))];
        let mut out = String::new();
        draw(&mut out, &Chart { title: "a <b>", unit: "ms", series: vec![("x", points)] }, &[2.0]);
        assert!(out.contains("a &lt;b&gt;") && !out.contains("NaN"), "{out}");
        let inside = |pair: &str| {
            let (x, y) = pair.split_once(',').expect("a pair");
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            (LEFT..=WIDTH).contains(&x) && (ABOVE..=HEIGHT - BELOW).contains(&y)
        };
        let lines = out.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        assert!(lines.flat_map(|line| line.split(' ')).all(inside), "{out}");
        let mut nothing = String::new();
        let unknown: Points = vec![(1.0, None)];
        draw(&mut nothing, &Chart { title: "a", unit: "", series: vec![("x", unknown)] }, &[]);
        assert_eq!(nothing, "");
    }
}
