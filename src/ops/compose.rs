//! `rehome compose -- …`: Compose with this project's files, and a guard before what destroys data (trap 13).

/// Why a command line is dangerous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Danger {
    /// The words that make it so.
    pub words: String,
    /// What they would do.
    pub what: &'static str,
}

/// Options of `docker compose` itself that take a value, so that the command is found behind them.
/// <https://docs.docker.com/reference/cli/docker/compose/>
const WITH_VALUE: [&str; 10] = [
    "--ansi",
    "--env-file",
    "-f",
    "--file",
    "--parallel",
    "--profile",
    "--progress",
    "-p",
    "--project-name",
    "--project-directory",
];

/// Looks at a command line for what destroys data.
#[must_use]
pub fn danger(arguments: &[String]) -> Option<Danger> {
    let mut rest = arguments.iter().map(String::as_str);
    let command = loop {
        let word = rest.next()?;
        if !word.starts_with('-') {
            break word;
        }
        if WITH_VALUE.contains(&word) {
            rest.next();
        }
    };
    let options: Vec<&str> = rest.take_while(|w| *w != "--").collect();
    let (short, long, what): (char, &[&str], _) = match command {
        "down" => (
            'v',
            &["--volumes"],
            "deletes the named volumes of the project, with their data",
        ),
        "rm" => (
            'v',
            &["--volumes"],
            "deletes the anonymous volumes of the containers, with their data",
        ),
        "up" | "create" | "run" => (
            'V',
            &["--renew-anon-volumes"],
            "throws the data of anonymous volumes away and starts with empty ones",
        ),
        "volumes" | "volume" => return None,
        _ => return None,
    };
    let hit = options.iter().find(|option| {
        let name = option.split('=').next().unwrap_or(option);
        let off = option.ends_with("=false") || option.ends_with("=0");
        let bundled = option.starts_with('-') && !option.starts_with("--") && name[1..].contains(short);
        // Compose takes no abbreviated long options, so that the names are all there is.
        !off && (long.contains(&name) || (bundled && in_bundle(command, name, short)))
    })?;
    Some(Danger {
        words: format!("{command} {hit}"),
        what,
    })
}

/// Whether a letter in a bundle of short options is an option and not the value of one before it (`-t10`).
fn in_bundle(command: &str, bundle: &str, wanted: char) -> bool {
    let with_value: &[char] = match command {
        "down" | "up" => &['t'],
        "run" => &['e', 'l', 'p', 'u', 'v', 'w'],
        _ => &[],
    };
    for letter in bundle.chars().skip(1) {
        if letter == wanted {
            return true;
        }
        if with_value.contains(&letter) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        danger(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(|d| d.words)
    }

    #[test]
    fn what_destroys_data_is_seen_in_every_spelling() {
        for (line, words) in [
            ("down -v", "down -v"),
            ("down --volumes", "down --volumes"),
            ("down -t 5 -v", "down -v"),
            ("--profile x -p name down --volumes=true", "down --volumes=true"),
            ("rm -sfv web", "rm -sfv"),
            ("up -d -V", "up -V"),
            ("up -dV", "up -dV"),
            ("up --renew-anon-volumes", "up --renew-anon-volumes"),
        ] {
            assert_eq!(of(line).as_deref(), Some(words), "{line}");
        }
    }

    #[test]
    fn what_does_not_is_left_alone() {
        for line in [
            "up -d",
            "down",
            "down --volumes=false",
            "run -v /x:/y web sh",
            "exec db rm -v file",
            "run web rm -v x",
            "logs -f",
            "exec api python manage.py createsuperuser",
            "-f down -v ps",
            "",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
