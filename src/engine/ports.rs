//! Ports of containers that are reached through the host.

use std::fmt;

use bollard::models::{PortBinding, PortMap};
use serde::{Deserialize, Serialize};

/// A TCP port of a container that is published under a port of the host that is always the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The host's port.
    pub host: u16,
    /// The address of the host, as the container was made with; empty is every one.
    pub ip: String,
    /// The container's port.
    pub container: u16,
}

impl Published {
    /// As the engine takes it.
    pub(super) fn binding(&self) -> PortBinding {
        PortBinding {
            host_ip: Some(self.ip.clone()),
            host_port: Some(self.host.to_string()),
        }
    }

    /// Several in words: `port 8080`, `ports 80, 127.0.0.1:8000`.
    #[must_use]
    pub fn list(ports: &[Self]) -> String {
        let mut words: Vec<_> = ports.iter().map(ToString::to_string).collect();
        // One port may be published under every address of each kind.
        words.dedup();
        let noun = if words.len() == 1 { "port" } else { "ports" };
        format!("{noun} {}", words.join(", "))
    }
}

impl fmt::Display for Published {
    /// As an address is typed: without one where it is every one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip.as_str() {
            "" | "0.0.0.0" | "::" => write!(f, "{}", self.host),
            ip if ip.contains(':') => write!(f, "[{ip}]:{}", self.host),
            ip => write!(f, "{ip}:{}", self.host),
        }
    }
}

/// The TCP ports that a container was made with. One that the engine chooses at each start is nobody's address, and
/// left out.
pub(super) fn published(bindings: Option<PortMap>) -> Vec<Published> {
    let mut found: Vec<_> = bindings
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(port, bindings)| {
            let container: u16 = port.strip_suffix("/tcp")?.parse().ok()?;
            Some((container, bindings?))
        })
        .flat_map(|(container, bindings)| {
            bindings.into_iter().filter_map(move |binding| {
                Some(Published {
                    host: binding.host_port?.parse().ok().filter(|port| *port != 0)?,
                    ip: binding.host_ip.unwrap_or_default(),
                    container,
                })
            })
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_tcp_ports_are_found_and_written_as_they_are_typed() {
        let binding = |ip: &str, port: &str| PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some(port.to_owned()),
        };
        let bindings = PortMap::from([
            (
                "8000/tcp".to_owned(),
                Some(vec![binding("127.0.0.1", "8081"), binding("", "80")]),
            ),
            ("443/udp".to_owned(), Some(vec![binding("", "443")])),
            (
                "9000/tcp".to_owned(),
                Some(vec![binding("", ""), binding("", "0")]),
            ),
            ("9001/tcp".to_owned(), None),
            ("80/tcp".to_owned(), Some(vec![binding("::1", "8080")])),
        ]);
        let found = published(Some(bindings));
        let words: Vec<_> = found
            .iter()
            .map(|port| format!("{port} -> {}", port.container))
            .collect();
        assert_eq!(
            words,
            ["80 -> 8000", "[::1]:8080 -> 80", "127.0.0.1:8081 -> 8000"]
        );
        assert_eq!(Published::list(&found), "ports 80, [::1]:8080, 127.0.0.1:8081");
        let every = ["0.0.0.0", "::"].map(|ip| Published {
            ip: ip.to_owned(),
            ..found[0].clone()
        });
        assert_eq!(Published::list(&every), "port 80");
        assert_eq!(published(None), []);
    }
}
