//! The rules of the house that a compiler does not know: which way imports point, what may do I/O, what a file looks
//! like, what a dependency is for.
//!
//! Each rule names every place that breaks it, with file and line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The floors of the house, from the cellar up: a module uses what is below it. The map is in `src/lib.rs`.
const FLOORS: [&[&str]; 8] = [
    &["model"],
    &["event", "child", "http", "s3"],
    &[
        "compose",
        "engine",
        "datastore",
        "helper",
        "state",
        "block",
        "backup",
        "site",
    ],
    &["observe", "plan", "saga", "steps"],
    &["ops"],
    &["ui"],
    &["web"],
    &["cli"],
];

/// What may be used on the same floor: each pair in one direction only.
const DOORS: [(&str, &str); 14] = [
    // A backup says of which kind of database its dumps are, and files are replaced in one way.
    ("backup", "datastore"),
    ("backup", "state"),
    // What is mounted where is read in one place.
    ("block", "helper"),
    // Files are replaced whole, in one way.
    ("block", "state"),
    // What the helper found is named in the words of its protocol.
    ("datastore", "helper"),
    ("engine", "helper"),
    // Directories are opened without following a symlink in one way.
    ("site", "block"),
    // What is in a directory is read in one way.
    ("site", "helper"),
    // An address is asked without a signature, as anybody could.
    ("s3", "http"),
    // Looking needs the paths inside of a helper; a plan is steps made from what was seen.
    ("observe", "steps"),
    ("plan", "observe"),
    ("plan", "steps"),
    ("plan", "saga"),
    ("steps", "saga"),
];

/// The display is fed by events; it knows of nothing else.
const UI_USES: [&str; 2] = ["event", "model"];

/// Above this a file is taken apart, or says why not.
const LONG: usize = 600;

/// The traps that this version must have a test for, by their number in the list of traps.
const TRAPS: [u8; 36] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31, 32, 35, 36, 37, 38, 39, 40,
];

/// A file of Rust.
struct Source {
    /// Below the package's directory: `src/plan/mod.rs`.
    path: String,
    text: String,
    /// Whether all of it is compiled for tests only.
    tests_only: bool,
}

impl Source {
    /// The module of the house it belongs to: `plan`; `None` for `main.rs` and `lib.rs`.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let first = below.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["main", "lib"].contains(&name)).then_some(name)
    }

    /// Its numbered lines without comments and without test modules.
    fn code(&self) -> Vec<(usize, &str)> {
        if self.tests_only {
            Vec::new()
        } else {
            code(&self.text)
        }
    }
}

/// The numbered lines of a text that are neither comments nor in a test module. Relies on rustfmt: the module ends
/// with the first brace as far left as it began.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((i, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let mut item = lines
                .by_ref()
                .skip_while(|(_, l)| l.trim_start().starts_with("#["));
            if item.next().is_some_and(|(_, first)| !first.ends_with(';')) {
                item.find(|(_, inside)| *inside == end);
            }
        } else if !line.trim_start().starts_with("//") {
            found.push((i + 1, line));
        }
    }
    found
}

/// The modules below the crate's root that a piece of code names: `crate::a::b`, `crate::{a, b::c}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(identifier(rest));
            continue;
        };
        let (mut depth, mut begins) = (1, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => begins = true,
                c if begins && !c.is_whitespace() => {
                    found.insert(identifier(&group[i..]));
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    // Macros live at the root.
    found.retain(|name| !name.is_empty());
    found
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file of Rust below these directories, by path.
fn sources(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = directories.iter().map(|d| root().join(d)).collect();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = read(&path);
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source {
                    tests_only: path.starts_with("tests/"),
                    path,
                    text,
                });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {directories:?}");
    let for_tests: BTreeSet<_> = found.iter().flat_map(test_files).collect();
    for source in &mut found {
        source.tests_only |= for_tests.contains(&source.path);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The files that a file declares for tests only: `#[cfg(test)]`, perhaps a `#[path]`, and `mod name;`.
fn test_files(source: &Source) -> Vec<String> {
    let (directory, file) = source.path.rsplit_once('/').unwrap();
    let own = match file {
        "mod.rs" | "lib.rs" | "main.rs" => directory.to_owned(),
        file => format!("{directory}/{}", file.trim_end_matches(".rs")),
    };
    let mut found = Vec::new();
    for after in source.text.split("#[cfg(test)]\n").skip(1) {
        let Some(line) = after.lines().next().map(str::trim) else {
            continue;
        };
        if let Some(path) = line
            .strip_prefix("#[path = \"")
            .and_then(|l| l.strip_suffix("\"]"))
        {
            found.push(format!("{directory}/{path}"));
            continue;
        }
        let line = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
            found.push(format!("{own}/{name}.rs"));
        }
    }
    found
}

/// Fails with everything that was found.
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// The places where code says one of these words.
fn places(sources: &[Source], keep: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| keep(s)) {
        for (number, line) in source.code() {
            for word in words.iter().filter(|w| says(line, w)) {
                found.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    found
}

/// Whether a line has a word that is not the end of a longer one.
fn says(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let begins = word.starts_with(|c: char| c.is_alphanumeric());
        !(begins && line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn may_use(from: &str, to: &str) -> bool {
    if from == "ui" {
        return UI_USES.contains(&to);
    }
    from == to || DOORS.contains(&(from, to)) || floor(from) > floor(to)
}

#[test]
fn imports_point_down() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else { continue };
        assert!(
            floor(module).is_some(),
            "{}: this module is on no floor",
            source.path
        );
        let code: Vec<_> = source.code().into_iter().map(|(_, line)| line).collect();
        for to in named_modules(&code.join("\n")) {
            if floor(&to).is_some() && !may_use(module, &to) {
                found.push(format!("{}: `{module}` uses `{to}`", source.path));
            }
        }
    }
    none("imports point downwards only", &found);
}

#[test]
fn nobody_leaves_a_module_upwards() {
    // `super::super::engine` would get past the rule above.
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let depth = source.path.split('/').count() - 1 - usize::from(source.path.ends_with("/mod.rs"));
        let up = "super::".repeat(depth.max(1));
        for (number, line) in source.code() {
            let climbs = line
                .match_indices(&up)
                .any(|(at, _)| floor(&identifier(&line[at + up.len()..])).is_some());
            if source.module().is_some() && climbs {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("other modules are named from the root, with `crate::`", &found);
}

#[test]
fn every_module_is_on_the_map() {
    let lib = read(&root().join("src/lib.rs"));
    let declared: BTreeSet<_> = lib
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let on_floors: BTreeSet<_> = FLOORS.iter().copied().flatten().copied().collect();
    assert_eq!(declared, on_floors);
    let map: String = lib.lines().filter(|l| l.starts_with("//!")).collect();
    for module in declared {
        assert!(
            says(&map, module),
            "the map in src/lib.rs does not show `{module}`"
        );
    }
}

#[test]
fn planner_and_saga_do_no_io() {
    let found = places(
        &sources(&["src/plan", "src/saga"]),
        |_| true,
        &[
            "std::fs",
            "std::env",
            "std::process",
            "std::net",
            "tokio::fs",
            "tokio::net",
            "tokio::process",
            "tokio::io",
            "tokio::signal",
            "bollard",
            "rustix",
            "tempfile",
        ],
    );
    none("the planner and the saga do no I/O", &found);
    let found = places(
        &sources(&["src/plan"]),
        |_| true,
        &[
            "tokio",
            "async ",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "Zoned::now",
            "rand",
        ],
    );
    none(
        "the planner has no clock, no chance and waits for nothing",
        &found,
    );
}

#[test]
fn a_file_says_what_lives_in_it() {
    let silent: Vec<_> = sources(&["src"])
        .into_iter()
        .filter(|s| !s.text.starts_with("//! "))
        .map(|s| s.path)
        .collect();
    none("a file begins with `//!`", &silent);
}

#[test]
fn a_long_file_says_why() {
    let long: Vec<_> = sources(&["src", "tests"])
        .into_iter()
        .filter(|s| s.text.lines().count() > LONG && !s.text.contains("\n// long because: "))
        .map(|s| format!("{}: {} lines", s.path, s.text.lines().count()))
        .collect();
    none("a file of more than 600 lines says `// long because: …`", &long);
}

#[test]
fn only_the_display_and_the_helper_print() {
    let found = places(
        &sources(&["src"]),
        |s| !matches!(s.module(), Some("ui" | "helper")),
        &[
            "println!",
            "print!",
            "eprintln!",
            "eprint!",
            "io::stdout",
            "io::stderr",
        ],
    );
    // The helper is given its streams: tests give it something else.
    let given = |place: &str| place.ends_with("io::stdout") || place.ends_with("io::stderr");
    let found: Vec<_> = found
        .into_iter()
        .filter(|place| !(place.starts_with("src/cli/mod.rs:") && given(place)))
        .collect();
    none("only ui and helper write to stdout and stderr", &found);
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut found = Vec::new();
    for source in sources(&["src", "tests"]) {
        for (i, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|w| says(line, w)) {
                found.push(format!("{}:{}: {word}", source.path, i + 1));
            }
        }
    }
    none("nothing is left for later", &found);
}

#[test]
fn nothing_panics_on_purpose() {
    let found = places(
        &sources(&["src"]),
        |_| true,
        &[".unwrap()", ".expect(\"", "panic!(", "unreachable!("],
    );
    none("outside of tests nothing panics", &found);
}

#[test]
fn no_machine_of_a_developer_is_named() {
    // A container's root has its home there, so tests of containers may say so.
    let anywhere = [concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut found = Vec::new();
    for source in sources(&["src", "tests"]) {
        for (i, line) in source.text.lines().enumerate() {
            let root = !source.tests_only && line.contains("/root/");
            if root || anywhere.iter().any(|path| line.contains(path)) {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    none("no path of a developer's machine", &found);
}

#[test]
fn lines_are_indented_by_spaces_and_end_in_text() {
    let mut found = Vec::new();
    for source in sources(&["src", "tests"]) {
        for (i, line) in source.text.lines().enumerate() {
            if line.contains('\t') || line.contains('\r') {
                found.push(format!("{}:{}", source.path, i + 1));
            }
        }
    }
    none("no tabs, no carriage returns", &found);
}

/// The dependencies of a section of Cargo.toml: name, and the comment at the head of its paragraph of lines.
fn dependencies(manifest: &str, section: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let (mut inside, mut explained) = (false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if line.trim().is_empty() {
            explained = false;
        } else if let (true, Some((name, _))) = (inside, line.split_once(" = ")) {
            found.insert(name.replace('-', "_"), explained);
        }
    }
    found
}

#[test]
fn every_dependency_has_a_reason_and_is_used() {
    let manifest = read(&root().join("Cargo.toml"));
    let mut found = String::new();
    for (section, directories) in [
        ("dependencies", &["src"][..]),
        ("dev-dependencies", &["src", "tests"]),
    ] {
        let all = dependencies(&manifest, section);
        assert!(!all.is_empty(), "no [{section}] in Cargo.toml");
        let text: Vec<_> = sources(directories).into_iter().map(|s| s.text).collect();
        for (name, explained) in all {
            if !explained {
                writeln!(found, "{name}: no comment above it").unwrap();
            }
            let used = [format!("{name}::"), format!("{name}!"), format!("use {name};")];
            if !text.iter().any(|t| used.iter().any(|u| says(t, u))) {
                writeln!(found, "{name}: used nowhere").unwrap();
            }
        }
    }
    assert!(found.is_empty(), "dependencies:\n{found}");
}

#[test]
fn the_rules_find_what_they_look_for() {
    assert_eq!(
        named_modules("use crate::{a::{x, y}, b, c::d};\nfn f() { $crate::e::g(crate::h::i) } mycrate::j"),
        ["a", "b", "c", "e", "h"].map(str::to_owned).into()
    );
    let lines: Vec<_> = code(
        "one\n// comment\n#[cfg(test)]\nmod tests;\ntwo\n#[cfg(test)]\nmod more {\n    fn f() {\n    }\n\"text;\n}\nthree",
    );
    assert_eq!(lines, [(1, "one"), (5, "two"), (12, "three")]);
    assert!(says("x.unwrap()", ".unwrap()") && says("a print!(", "print!"));
    assert!(!says("eprint!(", "print!"));
    assert!(may_use("plan", "observe") && !may_use("observe", "plan"));
    assert!(may_use("cli", "ui") && !may_use("ops", "ui") && !may_use("ui", "ops"));
    assert!(!may_use("model", "event") && !may_use("compose", "engine"));
    let manifest = "[dependencies]\n# why\na-b = \"1\"\nc = \"1\"\n\nd = \"1\"\n[other]\ne = \"1\"\n";
    assert_eq!(
        dependencies(manifest, "dependencies"),
        [("a_b", true), ("c", true), ("d", false)]
            .map(|(n, e)| (n.to_owned(), e))
            .into()
    );
}

#[test]
fn every_trap_has_a_test() {
    let all: String = sources(&["src", "tests"]).into_iter().map(|s| s.text).collect();
    let missing: Vec<_> = TRAPS
        .iter()
        .map(|number| format!("fn trap_{number:02}_"))
        .filter(|name| !all.contains(name))
        .collect();
    none("each of these traps is set by a test", &missing);
}
