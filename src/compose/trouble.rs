//! What sort of trouble Compose reports, recognised by its own words, which are always shown as they are.

use crate::model::Failure;

/// The reasons that Rehome tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A `${VARIABLE:?…}` is not set.
    MissingVariable,
    /// A file that the Compose files name is not there.
    MissingFile,
    /// The Compose files do not parse or make no valid project.
    Invalid,
    /// No engine answers.
    NoEngine,
    /// This Compose does not know a flag.
    UnknownFlag,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Recognises the trouble in what Compose wrote to stderr.
    #[must_use]
    pub fn of(stderr: &str) -> Self {
        const SIGNS: [(&str, Trouble); 21] = [
            ("unknown flag: ", Trouble::UnknownFlag),
            ("unknown shorthand flag: ", Trouble::UnknownFlag),
            ("Cannot connect to the Docker daemon", Trouble::NoEngine),
            ("error during connect", Trouble::NoEngine),
            ("failed to connect to the docker API", Trouble::NoEngine),
            ("is missing a value", Trouble::MissingVariable),
            ("no such file or directory", Trouble::MissingFile),
            ("no configuration file provided", Trouble::MissingFile),
            ("yaml: ", Trouble::Invalid),
            ("validating ", Trouble::Invalid),
            ("invalid compose project", Trouble::Invalid),
            ("invalid project name", Trouble::Invalid),
            ("invalid interpolation format", Trouble::Invalid),
            ("dependency cycle detected", Trouble::Invalid),
            ("undefined service", Trouble::Invalid),
            ("undefined volume", Trouble::Invalid),
            ("already mounted as", Trouble::Invalid),
            ("conflicting parameters", Trouble::Invalid),
            ("empty compose file", Trouble::Invalid),
            ("no such service", Trouble::Invalid),
            (" must be a ", Trouble::Invalid),
        ];
        let words = words(stderr, usize::MAX).join("\n");
        SIGNS
            .iter()
            .find(|(sign, _)| words.contains(sign))
            .map_or(Trouble::Other, |(_, trouble)| *trouble)
    }

    /// The failure that a person reads: what `command` ran into, in Compose's own words.
    #[must_use]
    pub(super) fn failure(command: &str, status: &str, stderr: &str) -> Failure {
        let trouble = Self::of(stderr);
        let what = match trouble {
            Trouble::MissingVariable => "the Compose files ask for a variable that is not set".to_owned(),
            Trouble::MissingFile => "the Compose files name a file that is not there".to_owned(),
            Trouble::Invalid => "the Compose files make no valid project".to_owned(),
            Trouble::NoEngine => "no Docker engine answers `docker compose`".to_owned(),
            Trouble::UnknownFlag | Trouble::Other => format!("`docker compose {command}` failed ({status})"),
        };
        let mut failure = Failure::environment(what);
        let words = words(stderr, 20);
        failure.causes = if words.is_empty() {
            vec!["Compose said nothing".to_owned()]
        } else {
            words
        };
        match trouble {
            Trouble::MissingVariable => failure.hint("set it in the project's .env or in the environment"),
            Trouble::Invalid | Trouble::MissingFile => {
                failure.hint("`docker compose config -q` in the project's directory shows the same")
            }
            Trouble::NoEngine => {
                failure.hint("is it running? `docker info` says; another one is named with -H or --context")
            }
            Trouble::UnknownFlag | Trouble::Other => failure,
        }
    }
}

/// Compose's last lines, without its warnings if it also said something else.
fn words(stderr: &str, most: usize) -> Vec<String> {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let is_warning = |line: &&str| line.contains("level=warning") || line.contains("level=info");
    let mut said: Vec<&str> = lines.iter().copied().filter(|line| !is_warning(line)).collect();
    if said.is_empty() {
        said = lines;
    }
    said.iter()
        .skip(said.len().saturating_sub(most))
        .map(|line| (*line).to_owned())
        .collect()
}
