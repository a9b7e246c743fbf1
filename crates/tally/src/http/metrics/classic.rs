//! OpenMetrics text as the text format 0.0.4 of Prometheus, which every tool reads. Samples are the same;
//! the lines that describe a metric are not: there a counter is called as its samples are.

/// Rewrites a whole exposition.
pub(super) fn of_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 512);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = described(line, "# HELP ") else {
            match described(line, "# TYPE ") {
                Some((name, kind)) => write_type(&mut out, name, kind),
                None if line.starts_with("# ") => {}
                None => push_line(&mut out, &[line]),
            }
            continue;
        };
        // What the help is of, its type says, which comes next.
        let kind = lines.peek().and_then(|next| described(next, "# TYPE ")).map(|(_, kind)| kind);
        push_line(&mut out, &["# HELP ", name, suffix(kind.unwrap_or_default()), " ", help]);
    }
    out
}

fn described<'a>(line: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(what)?.split_once(' ')
}

fn write_type(out: &mut String, name: &str, kind: &str) {
    let known = match kind {
        "unknown" => "untyped",
        "info" | "stateset" => "gauge",
        other => other,
    };
    push_line(out, &["# TYPE ", name, suffix(kind), " ", known]);
}

/// What the samples of a metric are called beyond its name, where all are called so.
fn suffix(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

fn push_line(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let open = "# HELP a_b Things, as they are.\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 1\n\
                    # HELP c Seconds.\n# TYPE c histogram\n# UNIT c seconds\nc_sum 1.5\nc_count 1\n\
                    # HELP v Version.\n# TYPE v info\nv_info{version=\"1\"} 1\n\
                    # TYPE g gauge\ng 3.0\n# EOF\n";
        let classic = "# HELP a_b_total Things, as they are.\n# TYPE a_b_total counter\n\
                       a_b_total{x=\"# TYPE\"} 1\n# HELP c Seconds.\n# TYPE c histogram\nc_sum 1.5\n\
                       c_count 1\n# HELP v_info Version.\n# TYPE v_info gauge\n\
                       v_info{version=\"1\"} 1\n# TYPE g gauge\ng 3.0\n";
        assert_eq!(of_open_metrics(open), classic);
    }
}
