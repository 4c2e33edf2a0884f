//! One HTTP GET over plain TCP, for health checks from inside a service's network. The status is all that is read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use super::fault::{Fault, Result, escape};
use super::protocol::FailClass;

/// Informational responses (1xx) that may come before the real one, and the bytes that all of them may have.
const HEAD: usize = 16 << 10;

/// Asks for `url`; returns the status of the first response that is not informational.
///
/// # Errors
/// When there is no answer in time, or none that is HTTP.
pub fn get(url: &str, timeout: Duration) -> Result<u16> {
    let deadline = Instant::now() + timeout;
    let target = Target::parse(url)?;
    let failed = |because: String| {
        Fault::new(
            FailClass::Other,
            format!("no answer from {}", target.shown),
            because,
        )
    };
    let io = |error: std::io::Error| match error.kind() {
        // What a socket's time limit is called depends on the platform.
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            failed(format!("nothing came within {} ms", timeout.as_millis()))
        }
        _ => failed(error.to_string()),
    };
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(std::io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    };
    let addresses = resolve(&target, left().map_err(io)?).map_err(io)?;
    let mut last = failed("the name has no address".to_owned());
    for address in addresses {
        let connected = left().and_then(|left| TcpStream::connect_timeout(&address, left));
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(error) => {
                last = io(error);
                continue;
            }
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: rehome\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            target.path, target.authority
        );
        left()
            .and_then(|left| stream.set_write_timeout(Some(left)))
            .map_err(io)?;
        stream.write_all(request.as_bytes()).map_err(io)?;
        let mut head = Vec::new();
        loop {
            if let Some(status) = status(&head).map_err(failed)? {
                return Ok(status);
            }
            if head.len() >= HEAD {
                return Err(failed(format!("the first {HEAD} bytes hold no response")));
            }
            left()
                .and_then(|left| stream.set_read_timeout(Some(left)))
                .map_err(io)?;
            let mut part = [0; 1024];
            match stream.read(&mut part) {
                Ok(0) => return Err(failed("the connection was closed before a response".to_owned())),
                Ok(len) => head.extend_from_slice(&part[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
    }
    Err(last)
}

struct Target {
    authority: String,
    host: String,
    port: u16,
    path: String,
    /// Without the query, which may hold a secret.
    shown: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self> {
        let refused = |because: &str| {
            let shown = escape(url.split(['?', '#']).next().unwrap_or_default().as_bytes());
            Fault::refused(format!("cannot ask for {shown}"), because)
        };
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| refused("only http:// is understood"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(refused("the address holds a space or control character"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(refused("an address with a password is not understood"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| refused("the port is no number"))?)
            }
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(refused("it names no host"));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let shown = format!("http://{authority}{}", path.split('?').next().unwrap_or_default());
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path,
            shown,
        })
    }
}

/// The C library's resolver knows no time limit, so it gets a thread of its own, which is left behind if need be.
fn resolve(target: &Target, left: Duration) -> std::io::Result<Vec<SocketAddr>> {
    let (tell, told) = crossbeam_channel::bounded(1);
    let address = (target.host.clone(), target.port);
    std::thread::spawn(move || {
        // Nobody waits any more when the time was up.
        drop(tell.send(address.to_socket_addrs().map(Iterator::collect)));
    });
    told.recv_timeout(left)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

/// The status of the first final response in what came so far; `None` when more has to come.
fn status(mut head: &[u8]) -> std::result::Result<Option<u16>, String> {
    loop {
        let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let line = &head[..end];
        let code = std::str::from_utf8(line).ok().and_then(|line| {
            let (version, rest) = line.split_once(' ')?;
            let code = rest
                .get(..3)
                .filter(|_| rest.len() == 3 || rest.as_bytes().get(3) == Some(&b' '))?;
            version
                .strip_prefix("HTTP/1.")
                .and(code.parse::<u16>().ok())
                .filter(|code| (100..1000).contains(code))
        });
        match code {
            None => return Err("it does not speak HTTP".to_owned()),
            Some(code) if code >= 200 => return Ok(Some(code)),
            Some(_) => {
                let Some(blank) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return Ok(None);
                };
                head = &head[blank + 4..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_first_final_response() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Ok(Some(200)));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Ok(Some(503)));
        assert_eq!(
            status(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\n"),
            Ok(Some(404))
        );
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n"), Ok(None));
        assert_eq!(status(b"HTTP/1.1 2"), Ok(None));
        for line in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"HTTP/1.1 20x OK\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"\r\n",
        ] {
            assert!(status(line).is_err());
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let target = Target::parse("http://[::1]:8000/health/?token=s3cret#top").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8000));
        assert_eq!(target.path, "/health/?token=s3cret");
        assert_eq!(target.shown, "http://[::1]:8000/health/");
        assert_eq!(Target::parse("http://api?x").unwrap().path, "/?x");
        assert_eq!(Target::parse("http://[fe80::1]").unwrap().port, 80);
        for url in [
            "https://x/",
            "http://",
            "http://x:y/",
            "http://a b/",
            "http://u:p@x/",
            "http://x/\r\nEvil: 1",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
