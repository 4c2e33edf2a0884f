//! The guard for data: looks at a command line, and at the shell scripts and the SQL in it, for what destroys data.
//!
//! Words only, no I/O. A command is taken apart the way it would be run (`docker compose exec api sh -c "…"`), so that
//! a path, a log text or an argument that is merely called `drop` is no alarm. What a script does that is named in a
//! command is not known here. Emptying or dropping one table by name (`TRUNCATE`, `DROP TABLE`) is left alone on
//! purpose: clean-up jobs do that every night, and a guard that cries then is switched off. It is here for what empties
//! whole databases and volumes.

mod docker;
mod rules;
mod shell;
mod sql;

pub use docker::compose_command;

/// Why a command is dangerous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Danger {
    /// The words that make it so.
    pub words: String,
    /// What they would do: "deletes the named volumes …".
    pub what: &'static str,
}

impl Danger {
    fn new(words: impl Into<String>, what: &'static str) -> Self {
        Self {
            words: words.into(),
            what,
        }
    }
}

/// Commands within commands, and scripts within scripts: what is deeper is not looked at.
const DEEPEST: usize = 12;

/// The guard of a project.
#[derive(Debug, Clone, Copy)]
pub struct Guard<'a> {
    data: &'a [String],
}

impl<'a> Guard<'a> {
    /// A guard that knows where data is: absolute paths, in the containers and on the host.
    #[must_use]
    pub fn new(data: &'a [String]) -> Self {
        Self { data }
    }

    /// Looks at a command: a program and its arguments.
    #[must_use]
    pub fn command(&self, argv: &[String]) -> Option<Danger> {
        Look::new(self.data.to_vec()).command(argv, &Fed::default())
    }

    /// Looks at what `docker compose` is told.
    #[must_use]
    pub fn compose(&self, arguments: &[String]) -> Option<Danger> {
        Look::new(self.data.to_vec()).compose(arguments)
    }
}

/// What a command is fed with, and whether its output goes into another one.
#[derive(Debug, Clone, Default)]
struct Fed {
    stdin: Option<String>,
    piped_on: bool,
}

/// A look at one command, as far as it got.
struct Look {
    data: Vec<String>,
    directory: Option<String>,
    depth: usize,
}

impl Look {
    fn new(data: Vec<String>) -> Self {
        Self {
            data,
            directory: None,
            depth: 0,
        }
    }

    /// The same look, one command further in.
    fn inside(&self) -> Self {
        Self {
            data: self.data.clone(),
            directory: self.directory.clone(),
            depth: self.depth + 1,
        }
    }

    fn command(&mut self, argv: &[String], fed: &Fed) -> Option<Danger> {
        if self.depth > DEEPEST {
            return None;
        }
        let argv = without_assignments(argv);
        let (first, arguments) = argv.split_first()?;
        let program = base_name(first);
        if let Some(inner) = rules::launched(program, arguments) {
            let mut look = self.inside();
            return match inner {
                rules::Inner::Command(argv) => look.command(&argv, fed),
                rules::Inner::Script(text) => look.script(&text),
                rules::Inner::Stdin => look.script(fed.stdin.as_deref().unwrap_or_default()),
            };
        }
        match program {
            "cd" | "pushd" => {
                self.directory = arguments.first().map(|to| self.absolute(to));
                None
            }
            "docker" | "podman" => self.inside().docker(arguments),
            "docker-compose" | "podman-compose" => self.inside().compose(arguments),
            "rm" => self.removal(arguments),
            "find" => self.found(arguments),
            _ => rules::danger(program, arguments, fed),
        }
    }

    fn script(&mut self, text: &str) -> Option<Danger> {
        if self.depth > DEEPEST {
            return None;
        }
        let script = shell::parse(text);
        for pipeline in &script.pipelines {
            let mut before: Option<String> = None;
            for (place, simple) in pipeline.iter().enumerate() {
                let fed = Fed {
                    stdin: simple.stdin.clone().or_else(|| before.take()),
                    piped_on: place + 1 < pipeline.len(),
                };
                let danger = self.command(&simple.words, &fed);
                if danger.is_some() {
                    return danger;
                }
                before = said(&simple.words, fed.stdin);
            }
        }
        script.nested.iter().find_map(|text| self.inside().script(text))
    }

    /// `rm -r` of a place where data is, of all that is in it, or of a directory above it. What is further down is left
    /// alone: caches lie there.
    fn removal(&self, arguments: &[String]) -> Option<Danger> {
        let options = arguments.iter().take_while(|a| *a != "--");
        let mut options = options.filter(|a| a.starts_with('-'));
        let recursive =
            options.any(|o| o == "--recursive" || (!o.starts_with("--") && o.contains(['r', 'R'])));
        let mut paths = arguments.iter().filter(|a| !a.starts_with('-'));
        let hit = paths.find(|path| recursive && self.is_data(path))?;
        Some(Danger::new(
            format!("rm -r {hit}"),
            "deletes what is in a place where data is kept",
        ))
    }

    /// `find DATA -delete`, `find DATA -exec rm`.
    fn found(&self, arguments: &[String]) -> Option<Danger> {
        let deletes = arguments.iter().any(|a| a == "-delete")
            || arguments
                .windows(2)
                .any(|pair| pair[0].starts_with("-exec") && base_name(&pair[1]) == "rm");
        // Whoever says which files does not mean all of them.
        let chosen = [
            "-name", "-iname", "-path", "-regex", "-mtime", "-mmin", "-newer", "-empty", "-size",
        ];
        let chooses = arguments.iter().any(|a| chosen.contains(&a.as_str()));
        let mut paths = arguments.iter().take_while(|a| !a.starts_with('-'));
        let hit = paths.find(|path| deletes && !chooses && self.is_data(path))?;
        Some(Danger::new(
            format!("find {hit} -delete"),
            "deletes what is in a place where data is kept",
        ))
    }

    fn is_data(&self, path: &str) -> bool {
        let path = self.absolute(path);
        let path = ["/*", "/.", "/.*", "/{*,.*}"]
            .iter()
            .find_map(|end| path.strip_suffix(end))
            .unwrap_or(&path);
        let path = std::path::Path::new(if path.is_empty() { "/" } else { path });
        let volumes = std::path::Path::new("/var/lib/docker/volumes");
        path.is_absolute()
            && (path.starts_with(volumes)
                || self
                    .data
                    .iter()
                    .any(|data| std::path::Path::new(data).starts_with(path)))
    }

    fn absolute(&self, path: &str) -> String {
        match &self.directory {
            Some(directory) if !path.starts_with('/') => {
                let path = path.strip_prefix("./").unwrap_or(path);
                format!("{}/{path}", directory.trim_end_matches('/'))
            }
            _ => path.to_owned(),
        }
    }
}

/// What a command that only prints would print.
fn said(words: &[String], stdin: Option<String>) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    match base_name(program) {
        "echo" | "printf" => Some(arguments.join(" ").replace("\\n", "\n")),
        "cat" => stdin,
        _ => None,
    }
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// The command behind `A=1 B=2`.
fn without_assignments(argv: &[String]) -> &[String] {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let assigns = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    &argv[argv.iter().take_while(assigns).count()..]
}

/// Whether an option is there and not switched off: `--volumes`, `--volumes=true`.
fn is_on(word: &str, long: &str) -> bool {
    match word.strip_prefix(long) {
        Some("") => true,
        Some(value) => value.starts_with('=') && !["=false", "=0", "=f", "=F", "=False"].contains(&value),
        None => false,
    }
}

#[cfg(test)]
mod tests;
