//! The rules of the house, checked on every `.rs` file of the repository: sizes, module docs,
//! what may not be left in, and what the deterministic crates may not touch.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const LINE_COLUMNS: usize = 100;

/// Folders that are not the project's own code.
const SKIPPED: [&str; 5] = ["target", ".git", ".cargo", "corpus", "artifacts"];

/// Nothing of this may be left in any file. Spelt in two parts, so that this file is clean.
const LEFT_OVER: [(&str, &str); 3] = [("todo", "!("), ("unimplemented", "!("), ("dbg", "!(")];

/// Starts of absolute paths of somebody's machine, in two parts as well.
const MACHINE_PATHS: [(&str, &str); 5] =
    [("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("/wo", "rk/"), ("C:", "\\\\")];

/// What sockets, clocks and chance look like, for crates that must not have them.
const OUTSIDE_WORLD: [&str; 10] = [
    "std::net::Udp",
    "std::net::Tcp",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::time::Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "std::thread",
];

/// One source file.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    lines: Vec<String>,
}

impl Source {
    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// A test file, or a module of tests?
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// Lines of code with their numbers: no comments, and not the unit tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.lines.windows(2).position(|w| {
            w[0] == "#[cfg(test)]" && w[1].starts_with("mod ") && w[1].ends_with('{')
        });
        let end = tests.unwrap_or(self.lines.len());
        let numbered = self.lines[..end].iter().enumerate();
        let code = numbered.map(|(i, l)| (i + 1, l.split("//").next().unwrap_or_default()));
        code.filter(|(_, l)| !l.trim().is_empty())
    }
}

/// Collects findings as `path:line: what`.
#[derive(Default)]
struct Findings(String);

impl Findings {
    fn add(&mut self, source: &Source, line: usize, what: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{}:{line}: {what}", source.path);
    }

    fn assert_none(self) {
        let n = self.0.lines().count();
        assert!(self.0.is_empty(), "{n} findings:\n{}", self.0);
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the repository is above this package").to_owned()
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, out);
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "this is not the repository: {}", root.display());
    let source = |p: &PathBuf| Source {
        path: p.strip_prefix(&root).unwrap_or(p).to_string_lossy().replace('\\', "/"),
        lines: fs::read_to_string(p).expect("UTF-8").lines().map(String::from).collect(),
    };
    paths.iter().map(source).collect()
}

#[test]
fn files_and_lines_are_short() {
    let mut findings = Findings::default();
    for s in sources() {
        if s.lines.len() >= FILE_LINES {
            let what = format!("{} lines, fewer than {FILE_LINES} are wanted", s.lines.len());
            findings.add(&s, s.lines.len(), &what);
        }
        for (i, line) in s.lines.iter().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS {
                findings.add(&s, i + 1, &format!("{columns} columns, at most {LINE_COLUMNS}"));
            }
        }
    }
    findings.assert_none();
}

/// Does a function begin here? rustfmt puts its `fn` on the line of its visibility.
fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let modifiers = ["pub", "const", "async", "extern", "\"C\""];
    let first = words.find(|w| !modifiers.contains(w) && !w.starts_with("pub("));
    first == Some("fn")
}

/// Functions with their first line and their length: formatted code closes a body with a brace
/// at the indentation of its `fn`.
fn functions(s: &Source) -> Vec<(usize, usize)> {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let mut out = Vec::new();
    for (i, line) in s.lines.iter().enumerate() {
        if !begins_function(line) {
            continue;
        }
        let depth = indent(line);
        let end = s.lines[i..].iter().enumerate().find(|(n, l)| {
            let closes = indent(l) == depth && l.trim_end() == format!("{}}}", " ".repeat(depth));
            let in_one_line = *n == 0 && l.trim_end().ends_with('}');
            let declared = indent(l) == depth && l.trim_end().ends_with(';');
            closes || in_one_line || declared
        });
        out.push((i + 1, end.map_or(s.lines.len() - i, |(n, _)| n + 1)));
    }
    out
}

#[test]
fn functions_are_short() {
    let mut findings = Findings::default();
    for s in sources() {
        for (line, length) in functions(&s) {
            if length >= FUNCTION_LINES {
                let what = format!("a function of {length} lines, fewer than {FUNCTION_LINES}");
                findings.add(&s, line, &what);
            }
        }
    }
    findings.assert_none();
}

#[test]
fn modules_say_what_they_are_for() {
    let mut findings = Findings::default();
    for s in sources() {
        // Attributes of a crate may come first.
        let first = s.lines.iter().position(|l| !l.trim().is_empty() && !l.starts_with("#!["));
        let opens = first.is_some_and(|i| s.lines[i].starts_with("//! "));
        if !opens {
            findings.add(&s, first.unwrap_or(0) + 1, "the module does not open with `//!`");
        }
    }
    findings.assert_none();
}

#[test]
fn nothing_is_left_over() {
    let mut findings = Findings::default();
    for s in sources() {
        for (i, line) in s.lines.iter().enumerate() {
            for (a, b) in LEFT_OVER {
                if line.contains(&format!("{a}{b}")) {
                    findings.add(&s, i + 1, &format!("{a}!"));
                }
            }
            for (a, b) in MACHINE_PATHS {
                if line.contains(&format!("{a}{b}")) {
                    findings.add(&s, i + 1, "an absolute path of a machine");
                }
            }
        }
    }
    findings.assert_none();
}

#[test]
fn core_has_no_outside_world() {
    let mut findings = Findings::default();
    for s in sources().iter().filter(|s| s.is_in("core/src/") && !s.is_test()) {
        for (i, line) in s.code() {
            for word in OUTSIDE_WORLD.iter().filter(|w| line.contains(**w)) {
                findings.add(s, i, &format!("{word} in core"));
            }
            if line.contains("async fn") || line.contains(".await") {
                findings.add(s, i, "async in core");
            }
            if line.contains("unsafe ") {
                findings.add(s, i, "unsafe in core");
            }
        }
    }
    findings.assert_none();
}

#[test]
fn the_simulator_has_no_clock_but_for_progress() {
    let mut findings = Findings::default();
    for s in sources().iter().filter(|s| s.is_in("sim/src/") && !s.is_test()) {
        // What the command line shows to people may know how long it took.
        // The second layer drives the real agent on simulated sockets of the same names.
        let layer_two = s.is_in("sim/src/turmoil");
        let shows_progress = s.is_in("sim/src/cli") || s.path == "sim/src/main.rs";
        for (i, line) in s.code() {
            let clock = line.contains("Instant::now") || line.contains("SystemTime::now");
            if clock && !shows_progress {
                findings.add(s, i, "a wall clock in the simulator");
            }
            for word in ["HashMap", "HashSet", "UdpSocket", "TcpStream", "TcpListener"] {
                let simulated = layer_two && !word.starts_with("Hash");
                if line.contains(word) && !simulated {
                    findings.add(s, i, &format!("{word} in the simulator"));
                }
            }
        }
    }
    findings.assert_none();
}

/// Modules whose parent's row in ARCHITECTURE.md speaks for them are not looked for.
#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("UTF-8");
    let mut findings = Findings::default();
    for s in sources().iter().filter(|s| !s.is_test()) {
        let folders = ["core/src/", "core/src/node/", "net-tokio/src/", "sim/src/"];
        let stem = folders
            .iter()
            .filter_map(|f| s.path.strip_prefix(f))
            .map(|rest| rest.strip_suffix("/mod.rs").or(rest.strip_suffix(".rs")).unwrap_or(rest));
        for name in stem.filter(|n| !n.contains('/') && !["lib", "main", "mod"].contains(n)) {
            if !map.contains(&format!("`{name}`")) {
                findings.add(s, 1, &format!("`{name}` is not in ARCHITECTURE.md"));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn dependencies_point_the_right_way() {
    let uses = |package: &str| {
        let text = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        let deps = text.split("[dependencies]").nth(1).unwrap_or_default().to_owned();
        // Up to the next section.
        deps.split("\n[").next().unwrap_or_default().to_owned()
    };
    let outside = ["tokio", "quorate-tests", "net-tokio", "sim", "hyper", "hickory"];
    for line in uses("core").lines() {
        assert!(!outside.iter().any(|o| line.starts_with(o)), "core/Cargo.toml: {line}");
    }
    for (package, forbidden) in [("net-tokio", ["sim", "quorate "]), ("bin", ["sim", "turmoil"])] {
        for line in uses(package).lines() {
            let wrong = forbidden.iter().any(|f| line.starts_with(f));
            assert!(!wrong, "{package}/Cargo.toml: {line}");
        }
    }
}

/// The lines that a patch expects, hunk by hunk, each with its file.
fn expected(patch: &str) -> Vec<(String, Vec<String>)> {
    let (mut file, mut hunks) = (String::new(), Vec::<(String, Vec<String>)>::new());
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path.to_owned();
        } else if line.starts_with("@@") {
            hunks.push((file.clone(), Vec::new()));
        } else if let Some((_, lines)) = hunks.last_mut()
            && !line.starts_with("---")
            && let Some(old) = line.strip_prefix([' ', '-'])
        {
            lines.push(old.to_owned());
        }
    }
    hunks
}

#[test]
fn the_bugs_that_fuzzing_should_find_still_fit_the_code() {
    let mut patches = 0;
    for entry in fs::read_dir(root().join("fuzz/bugs")).unwrap() {
        let path = entry.unwrap().path();
        let hunks = expected(&fs::read_to_string(&path).unwrap());
        assert!(!hunks.is_empty(), "{} changes nothing", path.display());
        for (file, lines) in hunks {
            let code = fs::read_to_string(root().join(&file)).unwrap();
            let code: Vec<&str> = code.lines().collect();
            let fits = code.windows(lines.len()).any(|w| w == lines);
            assert!(fits, "{} does not fit {file}: renew it", path.display());
        }
        patches += 1;
    }
    assert!(patches > 0);
}

#[test]
fn the_checks_find_what_they_look_for() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        lines: text.lines().map(String::from).collect(),
    };
    let method = "impl X {\n    pub fn a(\n        x: u8,\n    ) -> u8 {\n        x\n    }\n}\n";
    let s = source("x.rs", method);
    assert_eq!(functions(&s), [(2, 5)]);
    let three = "fn a() {}\nconst fn b() -> u8 {\n    1\n}\ntrait T {\n    fn c();\n}\n";
    let s = source("x.rs", three);
    assert_eq!(functions(&s), [(1, 1), (2, 3), (6, 1)]);
    let s = source("core/src/x.rs", "a // HashMap\n\n#[cfg(test)]\nmod tests {\n}\n");
    assert_eq!(s.code().collect::<Vec<_>>(), [(1, "a ")]);
    assert!(source("core/src/a/tests.rs", "").is_test() && !s.is_test());
}
