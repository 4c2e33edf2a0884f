//! Rehome as a plugin of the Docker command line: installed as `docker-rehome` it answers `docker rehome …`.
//!
//! Docker runs the plugin with its own arguments unchanged: `docker --context prod rehome status` becomes
//! `docker-rehome --context prod rehome status`. So the options before the word `rehome` are Docker's, not ours.
//! <https://github.com/docker/cli/blob/master/cli-plugins/manager/manager.go>

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The word with which Docker asks a plugin who it is.
pub const METADATA_COMMAND: &str = "docker-cli-plugin-metadata";

/// What Docker wants to know of a plugin.
/// <https://github.com/docker/cli/blob/master/cli-plugins/metadata/metadata.go>
#[must_use]
pub fn plugin_metadata() -> serde_json::Value {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "Rehome",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Gives the data of a Compose stack a new home",
    })
}

/// Turns the arguments of a plugin into Rehome's own; those of a direct call come back as they are.
#[must_use]
pub fn plugin_arguments(args: Vec<OsString>) -> Vec<OsString> {
    let is_plugin = args
        .first()
        .and_then(|program| Path::new(program).file_stem())
        .is_some_and(|name| name == "docker-rehome");
    match first_word(&args) {
        Some(word) if is_plugin && args[word] == "rehome" => {
            let mut own: Vec<OsString> = args[..1].to_vec();
            own.extend(args[1..word].iter().filter_map(docker_option));
            own.extend_from_slice(&args[word + 1..]);
            own
        }
        _ => args,
    }
}

/// The place of the first argument that is neither an option nor the value of one.
fn first_word(args: &[OsString]) -> Option<usize> {
    let mut value_follows = false;
    args.iter()
        .skip(1)
        .position(|arg| {
            let text = arg.to_string_lossy();
            if std::mem::take(&mut value_follows) {
                return false;
            }
            value_follows = TAKES_VALUE.contains(&text.as_ref());
            !text.starts_with('-')
        })
        .map(|place| place + 1)
}

const TAKES_VALUE: [&str; 10] = [
    "-c",
    "--context",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--config",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// Docker's spelling in ours. `-c` and `--config` mean something else to Docker; an option that we do not have is
/// handed on, so that it is refused instead of quietly ignored.
fn docker_option(arg: &OsString) -> Option<OsString> {
    let text = arg.to_string_lossy();
    let renamed = match text.as_ref() {
        "-D" | "--debug" => return None,
        "-c" => "--context".to_owned(),
        "--config" => "--docker-config".to_owned(),
        other => match other.strip_prefix("--config=") {
            Some(dir) => format!("--docker-config={dir}"),
            None => return Some(arg.clone()),
        },
    };
    Some(OsStr::new(&renamed).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        plugin_arguments(args)
            .iter()
            .map(|a| a.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_extra_word_goes_and_dockers_options_stay() {
        for (given, wanted) in [
            (
                "/usr/lib/docker-rehome rehome status",
                "/usr/lib/docker-rehome status",
            ),
            (
                "docker-rehome -D -c prod rehome move --to /x",
                "docker-rehome --context prod move --to /x",
            ),
            (
                "docker-rehome -H rehome rehome status",
                "docker-rehome -H rehome status",
            ),
            ("docker-rehome status rehome", "docker-rehome status rehome"),
            (
                "docker-rehome --config /d rehome status",
                "docker-rehome --docker-config /d status",
            ),
            ("rehome rehome status", "rehome rehome status"),
        ] {
            assert_eq!(through(given), wanted);
        }
    }

    #[test]
    fn docker_learns_who_we_are() {
        assert_eq!(plugin_metadata()["SchemaVersion"], "0.1.0");
        assert_eq!(plugin_metadata()["Version"], env!("CARGO_PKG_VERSION"));
    }
}
