//! Which engine: `-H` > `--context` > `DOCKER_HOST` > `DOCKER_CONTEXT` > the docker client's current context > the local socket.
//! <https://docs.docker.com/engine/manage-resources/contexts/>

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{Failure, Result};

const LOCAL: &str = "unix:///var/run/docker.sock";

/// The address of an engine and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineHost {
    /// `unix:///var/run/docker.sock`, `ssh://root@server`, `tcp://…`.
    pub url: String,
    /// Who said so.
    pub source: HostSource,
}

impl EngineHost {
    /// Whether this is the local engine at its usual place.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.url == LOCAL || self.url == "unix:///run/docker.sock"
    }

    /// Whether the engine runs on this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.url.starts_with("unix://")
    }

    /// Whether the engine is reached by logging in at another machine.
    #[must_use]
    pub fn is_ssh(&self) -> bool {
        self.url.starts_with("ssh://")
    }
}

/// Who named the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSource {
    /// `-H`.
    Flag,
    /// A context, by `--context`, `DOCKER_CONTEXT` or the client's configuration.
    Context(String),
    /// `DOCKER_HOST`.
    Environment,
    /// Nobody: the usual place.
    Default,
}

impl fmt::Display for HostSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostSource::Flag => f.write_str("--host"),
            HostSource::Context(name) => write!(f, "the docker context {name:?}"),
            HostSource::Environment => f.write_str("DOCKER_HOST"),
            HostSource::Default => f.write_str("the default"),
        }
    }
}

/// What the user and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `-H`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// The environment; handed in, so that tests need not change the process's.
    pub env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ClientConfig {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
struct ContextMeta {
    #[serde(rename = "Endpoints")]
    endpoints: BTreeMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// Finds the engine's address.
///
/// # Errors
/// When a context is named that does not exist or cannot be read, or the engine wants certificates.
pub fn resolve_host(wanted: &Wanted) -> Result<EngineHost> {
    let host = found(wanted)?;
    let set = |name: &str| wanted.env.get(name).is_some_and(|v| !v.is_empty());
    // Without them it would be asked in the clear, by somebody who believes that it is not.
    // https://docs.docker.com/engine/security/protect-access/#use-tls-https-to-protect-the-docker-daemon-socket
    let tls = match host.source {
        HostSource::Context(_) => host.url.starts_with("https://"),
        _ => host.url.starts_with("https://") || set("DOCKER_TLS_VERIFY") || set("DOCKER_TLS"),
    };
    match tls && !host.is_local() && !host.is_ssh() {
        true => Err(no_tls(&host)),
        false => Ok(host),
    }
}

fn no_tls(host: &EngineHost) -> Failure {
    Failure::usage(format!("the engine at {} is reached with certificates", host.url))
        .cause(format!(
            "{} says so, and Rehome does not speak TLS with engines",
            host.source
        ))
        .data("nothing was changed")
        .hint("reach it over SSH: -H ssh://user@server")
}

fn found(wanted: &Wanted) -> Result<EngineHost> {
    let set = |name: &str| wanted.env.get(name).filter(|v| !v.is_empty());
    if let Some(url) = &wanted.host {
        return Ok(EngineHost {
            url: normalise(url),
            source: HostSource::Flag,
        });
    }
    let directory = set("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(home).join(".docker")));
    if let Some(name) = &wanted.context {
        return context(name, directory.as_deref());
    }
    if let Some(url) = set("DOCKER_HOST") {
        return Ok(EngineHost {
            url: normalise(url),
            source: HostSource::Environment,
        });
    }
    if let Some(name) = set("DOCKER_CONTEXT") {
        return context(name, directory.as_deref());
    }
    if let Some(name) = directory.as_deref().map(current_context).transpose()?.flatten() {
        return context(&name, directory.as_deref());
    }
    Ok(EngineHost {
        url: LOCAL.into(),
        source: HostSource::Default,
    })
}

fn normalise(url: &str) -> String {
    if url.starts_with('/') {
        format!("unix://{url}")
    } else {
        url.to_owned()
    }
}

fn current_context(directory: &Path) -> Result<Option<String>> {
    let path = directory.join("config.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::environment(format!("cannot read {}", path.display())).because(&error));
        }
    };
    let config: ClientConfig = serde_json::from_slice(&text)
        .map_err(|e| Failure::environment(format!("cannot understand {}", path.display())).because(&e))?;
    Ok(Some(config.current_context).filter(|name| !name.is_empty()))
}

fn context(name: &str, directory: Option<&Path>) -> Result<EngineHost> {
    let source = HostSource::Context(name.to_owned());
    if name == "default" {
        return Ok(EngineHost {
            url: LOCAL.into(),
            source,
        });
    }
    let unknown = || {
        Failure::usage(format!("there is no docker context {name:?}")).hint("`docker context ls` lists them")
    };
    let id: String = Sha256::digest(name.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let contexts = directory.ok_or_else(unknown)?.join("contexts");
    let path = contexts.join("meta").join(&id).join("meta.json");
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(),
        _ => Failure::environment(format!("cannot read {}", path.display())).because(&error),
    })?;
    let meta: ContextMeta = serde_json::from_slice(&text)
        .map_err(|e| Failure::environment(format!("cannot understand {}", path.display())).because(&e))?;
    let url = meta
        .endpoints
        .get("docker")
        .map(|e| e.host.clone())
        .filter(|h| !h.is_empty())
        .ok_or_else(|| Failure::usage(format!("the docker context {name:?} names no docker engine")))?;
    let host = EngineHost { url, source };
    match contexts.join("tls").join(&id).join("docker").exists() {
        true => Err(no_tls(&host)),
        false => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// A directory of the docker client with a context `staging`, and where that would have its certificates.
    fn staging(host: &str) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        // `printf staging | sha256sum`
        let id = "e919a75364398a449f860aeadddc57fa0502145a4e63959ddb33c417a48dc0da";
        let contexts = home.path().join("contexts");
        let meta = contexts.join("meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        let text = format!(
            r#"{{"Name":"staging","Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        std::fs::write(meta.join("meta.json"), text).unwrap();
        (home, contexts.join("tls").join(id).join("docker"))
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_the_default() {
        let both = Wanted {
            host: Some("/tmp/d.sock".into()),
            context: None,
            env: env(&[("DOCKER_HOST", "ssh://root@server")]),
        };
        assert_eq!(resolve_host(&both).unwrap().url, "unix:///tmp/d.sock");
        let only_env = Wanted { host: None, ..both };
        assert_eq!(resolve_host(&only_env).unwrap().url, "ssh://root@server");
        assert_eq!(resolve_host(&Wanted::default()).unwrap().url, LOCAL);
    }

    #[test]
    fn a_context_is_found_by_the_hash_of_its_name() {
        let (home, _) = staging("ssh://deploy@staging");
        std::fs::write(
            home.path().join("config.json"),
            r#"{"currentContext":"staging","auths":{}}"#,
        )
        .unwrap();
        let wanted = Wanted {
            env: env(&[("DOCKER_CONFIG", home.path().to_str().unwrap())]),
            ..Wanted::default()
        };
        let host = resolve_host(&wanted).unwrap();
        assert_eq!(host.url, "ssh://deploy@staging");
        assert_eq!(host.source, HostSource::Context("staging".into()));
        let unknown = resolve_host(&Wanted {
            context: Some("nope".into()),
            ..wanted
        })
        .unwrap_err();
        assert_eq!(unknown.what, "there is no docker context \"nope\"");
    }

    #[test]
    fn an_engine_that_wants_certificates_is_not_asked_without() {
        let asks = |url: &str, name: &str| {
            resolve_host(&Wanted {
                env: env(&[("DOCKER_HOST", url), (name, "1")]),
                ..Wanted::default()
            })
        };
        for name in ["DOCKER_TLS_VERIFY", "DOCKER_TLS"] {
            let refused = asks("tcp://db1:2376", name).unwrap_err();
            assert!(refused.what.contains("with certificates"), "{refused}");
        }
        assert!(asks("tcp://db1:2375", "OTHER").is_ok());
        // Only tcp has them.
        assert!(asks("ssh://db1", "DOCKER_TLS_VERIFY").is_ok());
        assert!(asks("unix:///run/docker.sock", "DOCKER_TLS_VERIFY").is_ok());

        let (home, tls) = staging("tcp://db1:2376");
        let wanted = Wanted {
            context: Some("staging".into()),
            env: env(&[("DOCKER_CONFIG", home.path().to_str().unwrap())]),
            ..Wanted::default()
        };
        assert!(resolve_host(&wanted).is_ok());
        std::fs::create_dir_all(tls).unwrap();
        assert!(
            resolve_host(&wanted)
                .unwrap_err()
                .what
                .contains("with certificates")
        );
    }
}
