//! One HTTP GET over plain TCP, for checks from inside a service's network; and whether a port takes connections there.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::fault::{Fault, Result, escape};
use super::protocol::FailClass;
use crate::http::{self, Answer};

/// Asks for `url`; the status is that of the first response that is not informational.
///
/// # Errors
/// When there is no answer in time, or none that is HTTP.
pub fn get(url: &str, body: bool, timeout: Duration) -> Result<Answer> {
    // Without the query, which may hold a secret.
    let shown = escape(url.split(['?', '#']).next().unwrap_or_default().as_bytes());
    let refused = |because: &str| Fault::refused(format!("cannot ask for {shown}"), because);
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| refused("only http:// is understood"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let shown = "an address with a password";
        return Err(Fault::refused(
            format!("cannot ask for {shown}"),
            "it is not understood",
        ));
    }
    if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(refused("the address holds a space or control character"));
    }
    http::get(url, body, timeout)
        .map_err(|because| Fault::new(FailClass::Other, format!("no answer from {shown}"), because))
}

/// Whether something takes connections on a port of `localhost`.
///
/// # Errors
/// When nothing does.
pub fn connect(port: u16, timeout: Duration) -> Result<()> {
    let at = |address: std::net::IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), timeout);
    let first = at(Ipv4Addr::LOCALHOST.into());
    match first.or_else(|error| at(Ipv6Addr::LOCALHOST.into()).map_err(|_| error)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(
            FailClass::Other,
            format!("no connection to port {port}"),
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_from_inside_is_refused() {
        for url in [
            "https://x/",
            "http://",
            "http://x:y/",
            "http://a b/",
            "http://u:p@x/",
            "http://x/\r\nEvil: 1",
        ] {
            let fault = get(url, false, Duration::from_secs(1)).unwrap_err();
            assert!(!fault.what.contains("u:p"), "{url}: {}", fault.what);
        }
    }

    #[test]
    fn a_port_is_open_while_somebody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        connect(port, Duration::from_secs(5)).unwrap();
        drop(listener);
        assert!(connect(port, Duration::from_secs(5)).is_err());
    }
}
