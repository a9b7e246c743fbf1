//! Rows as a table, as CSV, as JSON.

use std::io::Write;

use anyhow::Context;
use batch::sql::{Column, Kind, Rows};
use comfy_table::{Cell, CellAlignment, Table};
use indicatif::ProgressBar;

use crate::cli::output::visible;

/// Rows of a table, whose columns can only be aligned when all are there.
const TABLE_ROWS_MAX: usize = 1_000;

const WRITE: &str = "cannot write the answer";

/// The first rows, aligned.
pub(super) async fn table(
    mut rows: Rows,
    mut table: Table,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let columns = rows.columns().to_vec();
    let cell = |column: &Column, text: &str| match column.kind {
        Kind::Number => Cell::new(text).set_alignment(CellAlignment::Right),
        _ => Cell::new(visible(text)),
    };
    table.set_header(columns.iter().map(|column| cell(column, &column.name)));
    let (mut shown, mut has_more) = (0, false);
    while !has_more && let Some(page) = rows.next().await? {
        page.for_each(|cells| {
            has_more = shown == TABLE_ROWS_MAX;
            if !has_more {
                let cells = columns.iter().zip(cells);
                table.add_row(
                    cells.map(|(column, text)| cell(column, text.as_deref().unwrap_or("-"))),
                );
                shown += 1;
            }
            Ok::<_, anyhow::Error>(())
        })?;
    }
    bar.finish_and_clear();
    writeln!(out, "{}", table.trim_fmt()).context(WRITE)?;
    if has_more {
        let note = "… and more rows; --format csv, json or parquet writes all of them";
        writeln!(out, "{note}").context(WRITE)?;
    }
    Ok(())
}

/// All rows as CSV; a null is an empty field.
pub(super) async fn csv(mut rows: Rows, out: &mut impl Write) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(rows.columns().iter().map(|column| &column.name)).context(WRITE)?;
    while let Some(page) = rows.next().await? {
        page.for_each(|cells| {
            csv.write_record(cells.iter().map(|text| text.as_deref().unwrap_or(""))).context(WRITE)
        })?;
    }
    csv.flush().context(WRITE)
}

/// All rows as an array of objects, one a line.
pub(super) async fn json(mut rows: Rows, out: &mut impl Write) -> anyhow::Result<()> {
    let names = names(rows.columns());
    let kinds: Vec<Kind> = rows.columns().iter().map(|column| column.kind).collect();
    let mut before = "[\n";
    while let Some(page) = rows.next().await? {
        page.for_each(|cells| {
            out.write_all(before.as_bytes()).context(WRITE)?;
            before = ",\n";
            let mut separator = "{";
            for ((name, kind), text) in names.iter().zip(&kinds).zip(cells) {
                write!(out, "{separator}{name}:").context(WRITE)?;
                value(out, *kind, text.as_deref())?;
                separator = ",";
            }
            let end = if names.is_empty() { "{}" } else { "}" };
            out.write_all(end.as_bytes()).context(WRITE)
        })?;
    }
    let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
    out.write_all(end.as_bytes()).context(WRITE)
}

fn value(out: &mut impl Write, kind: Kind, text: Option<&str>) -> anyhow::Result<()> {
    match (kind, text) {
        // JSON has no word for what is no number.
        (_, None) | (Kind::Number, Some("NaN" | "inf" | "-inf")) => out.write_all(b"null"),
        (Kind::Number | Kind::Boolean, Some(text)) => out.write_all(text.as_bytes()),
        (Kind::Text, Some(text)) => {
            return serde_json::to_writer(out, text).context(WRITE);
        }
    }
    .context(WRITE)
}

/// The names as JSON texts, each once: a second `a` is `a_2`.
fn names(columns: &[Column]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::with_capacity(columns.len());
    for Column { name, .. } in columns {
        let mut unique = name.clone();
        for n in 2.. {
            if !taken.contains(&unique) {
                break;
            }
            unique = format!("{name}_{n}");
        }
        taken.push(unique);
    }
    let json = |name: String| serde_json::to_string(&name).expect("a text is JSON");
    taken.into_iter().map(json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_values_are_json() {
        let column = |name: &str| Column { name: name.into(), kind: Kind::Text };
        let columns = ["a", "a", "a_2", "\""].map(column);
        assert_eq!(names(&columns), ["\"a\"", "\"a_2\"", "\"a_2_2\"", "\"\\\"\""]);
        let cases = [
            (Kind::Number, Some("1.500000"), "1.500000"),
            (Kind::Number, Some("NaN"), "null"),
            (Kind::Text, Some("a\"\n"), "\"a\\\"\\n\""),
            (Kind::Boolean, Some("true"), "true"),
            (Kind::Text, None, "null"),
        ];
        for (kind, text, expected) in cases {
            let mut out = Vec::new();
            value(&mut out, kind, text).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
