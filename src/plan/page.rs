//! On which ports a maintenance page answers while services are stopped, and which it leaves alone.

use serde::{Deserialize, Serialize};

use super::Stack;
use crate::datastore::Kind;
use crate::engine::Published;
use crate::model::{Failure, Result, ServiceName};
use crate::observe::{ServiceSeen, World};

/// The ports of HTTPS. <https://www.iana.org/assignments/service-names-port-numbers>
const HTTPS: [u16; 2] = [443, 8443];

/// A port on which the page answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Whose it is.
    pub service: ServiceName,
    /// The port.
    pub port: Published,
}

/// What is said about the page.
pub(super) struct Page {
    pub answered: Vec<Answered>,
    pub warnings: Vec<String>,
}

/// Why the page leaves a port alone.
enum Left {
    /// Whoever connects expects TLS, and the page has no certificate.
    Https,
    /// Whoever connects speaks to a database, and shall not be told words of another language.
    Database(Kind),
}

/// Finds the ports of the services that are stopped.
///
/// # Errors
/// Refuses when none is left: somebody asked for a page that nobody would see.
pub(super) fn page(world: &World, stack: &Stack) -> Result<Page> {
    let mut page = Page {
        answered: Vec::new(),
        warnings: Vec::new(),
    };
    let mut left = Vec::new();
    for service in stack.stopped().filter_map(|name| world.service(name)) {
        let running = service.containers.iter().filter(|c| c.state.is_up());
        for port in running.flat_map(|c| &c.ports) {
            let name = &service.name;
            match left_alone(world, service, port) {
                None => page.answered.push(Answered {
                    service: name.clone(),
                    port: port.clone(),
                }),
                Some(Left::Database(kind)) => {
                    left.push(format!("port {port} of service `{name}` is one of {kind}"));
                }
                Some(Left::Https) => {
                    left.push(format!("port {port} of service `{name}` wants a certificate"));
                    page.warnings.push(format!(
                        "port {port} of service `{name}` does not answer meanwhile: it wants a certificate, and the maintenance page has none"
                    ));
                }
            }
        }
    }
    if !page.answered.is_empty() {
        return Ok(page);
    }
    let none = Failure::refused("there is no port on which a maintenance page could answer");
    let none = if stack.stop.is_empty() {
        none.cause("no service runs, so none is stopped")
    } else if left.is_empty() {
        none.cause("no service that is stopped publishes a fixed TCP port")
    } else {
        none.cause(left.join(", "))
    };
    Err(none.data("nothing was changed").hint("leave out --maintenance"))
}

fn left_alone(world: &World, service: &ServiceSeen, port: &Published) -> Option<Left> {
    if let Some(kind) = database(world, service) {
        return Some(Left::Database(kind));
    }
    let both = [port.container, port.host];
    if let Some(kind) = both.into_iter().find_map(Kind::of_port) {
        return Some(Left::Database(kind));
    }
    both.iter().any(|p| HTTPS.contains(p)).then_some(Left::Https)
}

/// The database that a service serves, or may serve: one whose server was not recognised is anybody's who has its
/// data. SQLite has no server.
fn database(world: &World, service: &ServiceSeen) -> Option<Kind> {
    let stores = world.volumes.iter().flat_map(|v| &v.datastores);
    let mut own = stores.filter(|store| match &store.service {
        _ if store.kind == Kind::Sqlite => false,
        Some(server) => *server == service.name,
        None => service.mounts_volume(&store.volume),
    });
    service.server.or_else(|| own.next().map(|store| store.kind))
}
