//! Measures the tables of `docs/constants.md` again, in place:
//!
//! ```console
//! $ cargo run --release -p sim --example tables -- docs/constants.md [CONSTANT...]
//! ```
//!
//! The document itself says what to run. A paragraph begins with runs (32 nodes, 20 seeds,
//! `crash,rest`), which hold until the next one that does. A comment above a table names a figure
//! for each column but the first (`<!-- crash detected, rest bytes -->`; `crash@50` where a case is
//! run in several sizes). The first column has the values of the constant that heads it.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use sim::{
    compare::{self, Comparison, Row},
    constants,
};

/// Seconds after which the scenarios of `compare` give up waiting: for a cluster to form, and for
/// its members to agree after the last fault.
const PATIENCE: (u32, u32) = (30, 120);

/// Cases that run in clusters of one size.
#[derive(Clone, Debug, PartialEq)]
struct Runs {
    size: u32,
    seeds: u64,
    cases: Vec<String>,
}

/// What a column shows of its case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    /// Seconds until a member knows of a loss: median / 99th percentile.
    Detected,
    /// The slowest of them.
    Longest,
    /// Seconds until all know all after the start; the slowest seed.
    Formed,
    /// Seconds until all agree after the last step; the slowest seed.
    Agreed,
    /// Reports about processes that had not ended, per run.
    Reported,
    /// Those of them about members in good health, told by such ones, per run.
    AtHealthy,
    /// Bytes per node and second.
    Bytes,
}

const FIGURES: [(&str, Figure); 7] = [
    ("detected", Figure::Detected),
    ("longest", Figure::Longest),
    ("formed", Figure::Formed),
    ("agreed", Figure::Agreed),
    ("reported", Figure::Reported),
    ("healthy", Figure::AtHealthy),
    ("bytes", Figure::Bytes),
];

#[derive(Clone, Debug, PartialEq)]
struct Column {
    case: String,
    size: u32,
    seeds: u64,
    figure: Figure,
}

/// A table of the document.
#[derive(Debug)]
struct Table {
    constant: String,
    /// Its first row in the document, counted from 0, and the value of each row.
    first: usize,
    values: Vec<u64>,
    columns: Vec<Column>,
}

/// The runs that a paragraph names, if it begins so.
fn runs(paragraph: &str) -> Vec<Runs> {
    if !paragraph.starts_with(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let found = words.windows(5).filter_map(|w| {
        let [size, "nodes,", seeds, "seeds," | "seed,", cases] = w else { return None };
        let cases = cases.strip_prefix('`')?.split_once('`')?.0;
        Some(Runs {
            size: size.parse().ok()?,
            seeds: seeds.parse().ok()?,
            cases: cases.split(',').map(str::to_owned).collect(),
        })
    });
    found.collect()
}

/// `crash detected` or `crash@50 detected`.
fn column(text: &str, runs: &[Runs]) -> Result<Column, String> {
    let (case, figure) = text.split_once(' ').ok_or(format!("`{text}` is no case and figure"))?;
    let known = FIGURES.iter().find(|f| f.0 == figure);
    let names = FIGURES.map(|f| f.0).join(", ");
    let &(_, figure) = known.ok_or(format!("`{figure}` is no figure; there are {names}"))?;
    let (case, size) = case.split_once('@').map_or((case, None), |(c, s)| (c, Some(s)));
    let fits = |r: &&Runs| {
        r.cases.iter().any(|c| c == case) && size.is_none_or(|s| s == r.size.to_string())
    };
    let mut fitting = runs.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(r), None) => {
            Ok(Column { case: case.to_owned(), size: r.size, seeds: r.seeds, figure })
        }
        (None, _) => Err(format!("no paragraph above names a run of `{text}`")),
        (Some(_), Some(_)) => Err(format!("`{text}` is run in several sizes: say `{case}@SIZE`")),
    }
}

/// The cells of a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The table whose comment is at `at`.
fn table(lines: &[&str], at: usize, runs: &[Runs]) -> Result<Table, String> {
    let says = lines[at].trim_start_matches("<!--").trim_end_matches("-->").trim();
    let columns: Vec<Column> =
        says.split(", ").map(|c| column(c, runs)).collect::<Result<_, _>>()?;
    let head = lines.get(at + 1).and_then(|l| cells(l)).ok_or("no table follows")?;
    if head.len() != columns.len() + 1 {
        return Err(format!("{} figures for {} columns", columns.len(), head.len() - 1));
    }
    let constant = head[0].trim_matches('`').to_owned();
    let first = at + 3;
    let mut values = Vec::new();
    for cells in lines.iter().skip(first).map_while(|l| cells(l)) {
        let value = cells[0].trim_matches('*');
        values.push(value.parse().map_err(|_| format!("`{value}` is no value"))?);
    }
    constants::parse(&setting(&constant, &values))?;
    Ok(Table { constant, first, values, columns })
}

/// As `--set` of `compare` takes it.
fn setting(constant: &str, values: &[u64]) -> String {
    let values: Vec<String> = values.iter().map(u64::to_string).collect();
    format!("{constant}={}", values.join(","))
}

/// All tables of a document; an error says in which line.
fn tables(text: &str) -> Result<Vec<Table>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut tables, mut current, mut paragraph) = (Vec::new(), Vec::new(), String::new());
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("<!--") {
            let table = table(&lines, at, &current);
            tables.push(table.map_err(|e| format!("line {}: {e}", at + 1))?);
        }
        if !line.trim().is_empty() {
            paragraph.push_str(line);
            paragraph.push(' ');
            continue;
        }
        let named = runs(&std::mem::take(&mut paragraph));
        if !named.is_empty() {
            current = named;
        }
    }
    Ok(tables)
}

fn seconds(ms: u64) -> String {
    format!("{:.2}", ms as f64 / 1000.0)
}

/// With one decimal, if it has any.
fn short(n: f64) -> String {
    let text = format!("{n:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn cell(column: &Column, row: &Row) -> String {
    let or =
        |ms: Option<u64>, patience: u32| ms.map_or_else(|| format!("over {patience}"), seconds);
    let known = |part: &dyn Fn([u64; 3]) -> String| row.detection_ms.map_or("-".into(), part);
    match column.figure {
        Figure::Detected => known(&|d| format!("{} / {}", seconds(d[0]), seconds(d[1]))),
        Figure::Longest => known(&|d| seconds(d[2])),
        Figure::Formed => or(row.formed_ms, PATIENCE.0),
        Figure::Agreed => or(row.converged_ms, PATIENCE.1),
        Figure::Reported => short(row.live_per_run),
        Figure::AtHealthy => short(row.at_healthy as f64 / column.seeds as f64),
        Figure::Bytes => format!("{:.0}", row.bytes_per_node_s),
    }
}

/// The cells of each row, without the first of each.
fn measured(table: &Table) -> Result<Vec<Vec<String>>, String> {
    let profiles = constants::parse(&setting(&table.constant, &table.values))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut out = vec![Vec::new(); table.values.len()];
    let mut known: BTreeMap<(&str, u32), Vec<Row>> = BTreeMap::new();
    for column in &table.columns {
        let rows = known.entry((&column.case, column.size)).or_insert_with(|| {
            let what = Comparison {
                sizes: vec![column.size],
                cases: vec![column.case.clone()],
                profiles: profiles.clone(),
                seeds: column.seeds,
                jobs,
            };
            compare::compare(&what, || {})
        });
        if rows.len() != out.len() {
            return Err(format!("`{}` is no case", column.case));
        }
        for (cells, row) in out.iter_mut().zip(rows.iter()) {
            cells.push(cell(column, row));
        }
    }
    Ok(out)
}

/// The document with the rows of a table as they were measured now.
fn renewed(text: &str, table: &Table, measured: &[Vec<String>]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, figures) in lines.iter_mut().skip(table.first).zip(measured) {
        let value = cells(line).map_or_else(String::new, |c| c[0].to_owned());
        *line = format!("| {value} | {} |", figures.join(" | "));
    }
    lines.join("\n") + "\n"
}

fn again(path: &PathBuf, only: &[String]) -> Result<(), String> {
    let at = |e: String| format!("{}: {e}", path.display());
    let mut text = fs::read_to_string(path).map_err(|e| at(e.to_string()))?;
    let all = tables(&text).map_err(at)?;
    if let Some(o) = only.iter().find(|o| !all.iter().any(|t| t.constant == **o)) {
        return Err(at(format!("has no table of `{o}`")));
    }
    for table in all.iter().filter(|t| only.is_empty() || only.contains(&t.constant)) {
        eprintln!("line {}: {}", table.first + 1, table.constant);
        text = renewed(&text, table, &measured(table).map_err(at)?);
        // Each as it comes: all of them take a while.
        fs::write(path, &text).map_err(|e| at(e.to_string()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next().filter(|a| !a.starts_with('-')) else {
        eprintln!("usage: tables FILE [CONSTANT...]");
        return ExitCode::from(2);
    };
    match again(&PathBuf::from(path), &args.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tables: {e}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::Tuning;

    const DOCUMENT: &str = "\
# T

4 nodes, 2 seeds, `crash,rest` (as it is);
8 nodes, 1 seed, `crash`.

<!-- crash@4 detected, rest bytes, crash@8 agreed -->
| `refused_grace` | killed | bytes | agreed |
|---|---|---|---|
| 0 | old | old | old |
| **300** | old | old | old |

The end.
";

    #[test]
    fn a_document_says_what_to_run() {
        let tables = tables(DOCUMENT).unwrap();
        let [t] = &tables[..] else { panic!("{tables:?}") };
        assert_eq!(
            (t.constant.as_str(), t.first, &t.values[..]),
            ("refused_grace", 8, &[0, 300][..])
        );
        let column =
            |case: &str, size, seeds, figure| Column { case: case.into(), size, seeds, figure };
        let expected = [
            column("crash", 4, 2, Figure::Detected),
            column("rest", 4, 2, Figure::Bytes),
            column("crash", 8, 1, Figure::Agreed),
        ];
        assert_eq!(t.columns, expected);
    }

    #[test]
    fn figures_change_and_nothing_else_does() {
        let t = &tables(DOCUMENT).unwrap()[0];
        let figures = measured(t).unwrap();
        let median =
            |row: usize| figures[row][0].split(' ').next().unwrap().parse::<f64>().unwrap();
        assert!(median(0) < 0.1 && (0.3..0.5).contains(&median(1)), "{figures:?}");
        let text = renewed(DOCUMENT, t, &figures);
        assert_eq!(text.lines().count(), DOCUMENT.lines().count());
        for (i, (now, before)) in text.lines().zip(DOCUMENT.lines()).enumerate() {
            assert_eq!(now == before, !before.contains("old"), "line {}: {now}", i + 1);
        }
        assert_eq!(renewed(&text, t, &figures), text);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, error) in [
            ("crash@4", "crash", "line 6: `crash detected` is run in several sizes"),
            ("crash@8", "crash@9", "line 6: no paragraph above names a run of `crash@9 agreed`"),
            ("rest bytes", "rest bits", "line 6: `bits` is no figure; there are detected"),
            (", rest bytes", "", "line 6: 2 figures for 3 columns"),
            ("| 0 |", "| none |", "line 6: `none` is no value"),
            ("refused_grace", "refused_grief", "line 6: unknown constant `refused_grief`"),
        ] {
            let got = tables(&DOCUMENT.replace(from, to)).err().unwrap_or_default();
            assert!(got.starts_with(error), "{got}");
        }
    }

    /// The tables cannot tell of constants, cases and values that are not there any more.
    #[test]
    fn the_tables_of_the_docs_can_be_measured_again() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/constants.md");
        let text = fs::read_to_string(path).unwrap();
        let tables = tables(&text).unwrap();
        assert!(tables.len() > 30, "{}", tables.len());
        let lines: Vec<&str> = text.lines().collect();
        let ours = Tuning::default();
        for t in &tables {
            let constant = constants::CONSTANTS.iter().find(|c| c.name == t.constant).unwrap();
            let bold = lines.iter().skip(t.first).take(t.values.len());
            let bold: Vec<_> =
                bold.filter_map(|l| l.strip_prefix("| **")?.split_once("**")).collect();
            let value = (constant.get)(&ours).to_string();
            assert_eq!(bold.iter().map(|b| b.0).collect::<Vec<_>>(), [&value], "{}", t.constant);
            for c in &t.columns {
                assert!(compare::CASES.iter().any(|x| x.0 == c.case), "{}: {c:?}", t.constant);
            }
        }
    }
}
