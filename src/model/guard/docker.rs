//! Commands of Docker and Compose that destroy data, and the commands that they run in containers.

use super::{Danger, Fed, Look, is_on};

/// Options of `docker compose` itself that take a value, so that the command is found behind them.
/// <https://docs.docker.com/reference/cli/docker/compose/>
const COMPOSE_VALUES: &[&str] = &[
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

/// The same of `docker`. <https://docs.docker.com/reference/cli/docker/>
const DOCKER_VALUES: &[&str] = &[
    "-H",
    "--host",
    "-c",
    "--context",
    "--config",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// Of `exec`, `run` and `create`, of both, as far as they take a value. One that is missing here would only make its
/// value the container's name.
const RUN_VALUES: &[&str] = &[
    "-a",
    "--attach",
    "--add-host",
    "--cap-add",
    "--cap-drop",
    "--cidfile",
    "--cpus",
    "--detach-keys",
    "--device",
    "--dns",
    "-e",
    "--entrypoint",
    "--env",
    "--env-file",
    "--env-from-file",
    "--expose",
    "--gpus",
    "--group-add",
    "-h",
    "--hostname",
    "--index",
    "--ip",
    "--ipc",
    "-l",
    "--label",
    "--link",
    "--log-driver",
    "--log-opt",
    "-m",
    "--memory",
    "--mount",
    "--name",
    "--net",
    "--network",
    "-p",
    "--pid",
    "--platform",
    "--publish",
    "--pull",
    "--restart",
    "--runtime",
    "--security-opt",
    "--shm-size",
    "--stop-signal",
    "--stop-timeout",
    "--sysctl",
    "--tmpfs",
    "-u",
    "--ulimit",
    "--user",
    "--userns",
    "-v",
    "--volume",
    "--volumes-from",
    "-w",
    "--workdir",
];

/// The command among what `docker compose` is told, behind its own options: `up` of `--profile x up -d`.
#[must_use]
pub fn compose_command(arguments: &[String]) -> Option<&str> {
    behind_options(arguments, COMPOSE_VALUES).map(|(command, _)| command)
}

impl Look {
    /// What `docker` is told.
    pub(super) fn docker(&mut self, arguments: &[String]) -> Option<Danger> {
        let (word, rest) = behind_options(arguments, DOCKER_VALUES)?;
        let (word, rest) = match (word, rest.split_first()) {
            ("container", Some((word, rest))) => (word.as_str(), rest),
            _ => (word, rest),
        };
        match (word, rest.first().map(String::as_str)) {
            ("compose", _) => self.compose(rest),
            ("exec" | "run" | "create", _) => self.in_container(rest),
            ("volume", Some(what @ ("rm" | "remove"))) => Some(Danger::new(
                format!("volume {what}"),
                "deletes volumes, with their data",
            )),
            ("volume", Some("prune")) => Some(Danger::new(
                "volume prune",
                "deletes every volume that no container has at the moment",
            )),
            ("system", Some("prune")) if rest.iter().any(|o| is_on(o, "--volumes")) => Some(Danger::new(
                "system prune --volumes",
                "deletes every volume that no container has at the moment",
            )),
            ("rm" | "remove", _) => {
                let mut options = rest.iter().take_while(|w| *w != "--");
                let hit = options.find(|o| is_on(o, "--volumes") || in_bundle("rm", o, 'v'))?;
                Some(Danger::new(format!("rm {hit}"), ANONYMOUS))
            }
            _ => None,
        }
    }

    /// What `docker compose` is told.
    pub(super) fn compose(&mut self, arguments: &[String]) -> Option<Danger> {
        let (command, rest) = behind_options(arguments, COMPOSE_VALUES)?;
        let dangers: &[(char, &str, &'static str)] = match command {
            "down" => &[(
                'v',
                "--volumes",
                "deletes the named volumes of the project, with their data",
            )],
            "rm" => &[('v', "--volumes", ANONYMOUS)],
            "up" | "create" => &[('V', "--renew-anon-volumes", RENEWED), ('y', "--yes", ANSWERED)],
            "run" => &[('V', "--renew-anon-volumes", RENEWED)],
            "exec" => &[],
            _ => return None,
        };
        // Behind the name of the service of `run` and `exec` is another program's command line.
        let inner = match command {
            "run" | "exec" => behind_options(rest, RUN_VALUES).map_or(0, |(_, inner)| inner.len() + 1),
            _ => 0,
        };
        let own = &rest[..rest.len() - inner];
        for (short, long, what) in dangers {
            let mut own = own.iter().take_while(|w| *w != "--");
            // Compose takes no abbreviated long options, so that the names are all there is.
            if let Some(hit) = own.find(|o| is_on(o, long) || in_bundle(command, o, *short)) {
                return Some(Danger::new(format!("{command} {hit}"), what));
            }
        }
        match command {
            "exec" | "run" => self.in_container(rest),
            _ => None,
        }
    }

    /// Behind the options, a container, a service or an image, and its command.
    fn in_container(&mut self, arguments: &[String]) -> Option<Danger> {
        let (_, command) = behind_options(arguments, RUN_VALUES)?;
        let own = &arguments[..arguments.len() - command.len()];
        let mut look = self.inside();
        look.data.extend(own.windows(2).filter_map(mounted));
        let entry = own.windows(2).find(|pair| pair[0] == "--entrypoint");
        let command: Vec<String> = entry
            .map(|pair| pair[1].clone())
            .into_iter()
            .chain(command.iter().skip_while(|w| *w == "--").cloned())
            .collect();
        look.command(&command, &Fed::default())
    }
}

const ANONYMOUS: &str = "deletes the anonymous volumes of the containers, with their data";
const RENEWED: &str = "throws the data of anonymous volumes away and starts with empty ones";
const ANSWERED: &str =
    "answers yes when Compose asks whether to make a volume anew, which deletes the data in it";

/// Where `docker run -v volume:/there` has a volume; a directory that is written out is none.
fn mounted(pair: &[String]) -> Option<String> {
    let [option, value] = pair else { return None };
    match option.as_str() {
        "-v" | "--volume" => {
            let (source, rest) = value.split_once(':')?;
            let named = !source.starts_with(['/', '.', '~', '$']);
            named.then(|| rest.split(':').next().unwrap_or(rest).to_owned())
        }
        "--mount" if value.contains("type=volume") => value.split(',').find_map(|part| {
            let (key, path) = part.split_once('=')?;
            ["dst", "target", "destination"]
                .contains(&key)
                .then(|| path.to_owned())
        }),
        _ => None,
    }
}

/// The first word that is neither an option nor the value of one, and what follows it.
fn behind_options<'a>(arguments: &'a [String], values: &[&str]) -> Option<(&'a str, &'a [String])> {
    let mut at = 0;
    loop {
        let word = arguments.get(at)?;
        if word == "--" {
            at += 1;
            continue;
        }
        if !word.starts_with('-') {
            return Some((word, &arguments[at + 1..]));
        }
        let takes = match word.strip_prefix("--") {
            Some(_) => values.contains(&word.as_str()),
            // `-it` takes no value, `-itu` does, and `-uit` has it already.
            None => {
                let with_value = |c: char| values.contains(&format!("-{c}").as_str());
                word.find(with_value) == Some(word.len() - 1)
            }
        };
        at += 1 + usize::from(takes);
    }
}

/// Whether a letter in a bundle of short options is an option and not the value of one before it (`-t10`).
fn in_bundle(command: &str, bundle: &str, wanted: char) -> bool {
    if !bundle.starts_with('-') || bundle.starts_with("--") || is_off(bundle) {
        return false;
    }
    let with_value: &[char] = match command {
        "down" | "up" => &['t'],
        "run" => &['e', 'l', 'p', 'u', 'v', 'w'],
        _ => &[],
    };
    for letter in bundle.chars().skip(1).take_while(|c| *c != '=') {
        if letter == wanted {
            return true;
        }
        if with_value.contains(&letter) {
            return false;
        }
    }
    false
}

fn is_off(option: &str) -> bool {
    option.ends_with("=false") || option.ends_with("=0")
}
