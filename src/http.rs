//! Asks over HTTP and HTTPS, within limits: one request, one answer, redirects not followed. Blocking: whoever waits for
//! something else meanwhile calls it in a thread.
//!
//! What is asked, and what an answer means, is known by the callers. Nothing that is said here names the address,
//! which may be a secret: at most its host, when a certificate is for another.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use jiff::Timestamp;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error, Proxy};

/// More of an answer is not read.
const BODY: u64 = 512 << 10;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its text, up to half a MiB, if that was wanted.
    pub body: String,
}

/// Which way a request goes.
enum Way {
    /// To the address itself: a check asks what is there, whatever proxy the environment names.
    Straight,
    /// As the environment says (`HTTPS_PROXY`): out into the world.
    Out,
    /// Through this proxy, by a tunnel.
    Through(Proxy),
}

/// GET, with the answer's text if `body`.
///
/// # Errors
/// Why there is no answer, in words.
pub fn get(url: &str, body: bool, limit: Duration) -> Result<Answer, String> {
    let asked = agent(limit, Way::Straight, RootCerts::PlatformVerifier)
        .get(url)
        .call();
    let mut response = asked.map_err(|error| words(&error, limit))?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    if body {
        let reader = response.body_mut().as_reader();
        reader
            .take(BODY)
            .read_to_end(&mut bytes)
            .map_err(|error| of_io(&error, limit))?;
    }
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// What came back from where certificates are judged by authorities that are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    /// Its status.
    pub status: u16,
    /// What time it is there, if that was said.
    pub date: Option<Timestamp>,
}

/// GET, where this machine's authorities are not at hand: certificates are judged by these (PEM), and a proxy is the one
/// that was handed on.
///
/// # Errors
/// Why there is no answer, in words.
pub fn brief(
    url: &str,
    (authorities, proxy): (&[u8], Option<&str>),
    limit: Duration,
) -> Result<Brief, String> {
    let certificates = parse_pem(authorities).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    });
    let roots = RootCerts::Specific(std::sync::Arc::new(certificates.collect()));
    let proxy = proxy.map(Proxy::new).transpose();
    let proxy = proxy.map_err(|_| "the address of the proxy cannot be understood".to_owned())?;
    let way = proxy.map_or(Way::Straight, Way::Through);
    let answer = agent(limit, way, roots).get(url).call();
    let answer = answer.map_err(|error| words(&error, limit))?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    Ok(Brief {
        status: answer.status().as_u16(),
        date: date.map(|date| date.timestamp()),
    })
}

/// POST; the answer's text is not wanted.
///
/// # Errors
/// Why there is no answer, in words.
pub fn post(url: &str, headers: &[(&str, &str)], body: &str, limit: Duration) -> Result<u16, String> {
    let request = agent(limit, Way::Out, RootCerts::PlatformVerifier).post(url);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    match request.send(body) {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(words(&error, limit)),
    }
}

fn agent(limit: Duration, way: Way, roots: RootCerts) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent("rehome")
        .tls_config(TlsConfig::builder().root_certs(roots).build());
    match way {
        Way::Straight => config.proxy(None).build().into(),
        Way::Out => config.build().into(),
        Way::Through(proxy) => config.proxy(Some(proxy)).build().into(),
    }
}

fn words(error: &Error, limit: Duration) -> String {
    match error {
        Error::Timeout(_) => late(limit),
        Error::Io(error) => of_io(error, limit),
        Error::HostNotFound => "the name has no address".to_owned(),
        Error::ConnectionFailed => "nobody answers there".to_owned(),
        Error::Protocol(_) => "it does not speak HTTP".to_owned(),
        Error::BadUri(_) | Error::Http(_) => "the address cannot be understood".to_owned(),
        Error::Tls(why) => format!("no secure connection: {why}"),
        Error::Rustls(error) => format!("no secure connection: {error}"),
        // The others are about what is not done here, or would name the address.
        _ => "it could not be asked".to_owned(),
    }
}

fn of_io(error: &std::io::Error, limit: Duration) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => late(limit),
        // What rustls says of a certificate comes this way.
        ErrorKind::InvalidData => format!("no secure connection: {error}"),
        ErrorKind::UnexpectedEof => "the connection was closed before a response".to_owned(),
        _ => error.to_string(),
    }
}

fn late(limit: Duration) -> String {
    format!("nothing came within {} ms", limit.as_millis())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes; tells what it was asked.
    fn once(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut asked = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let lower = line.to_ascii_lowercase();
                if let Some(text) = lower.strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                asked.push_str(&line);
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer).unwrap();
            asked + &String::from_utf8(body).unwrap()
        });
        (url, thread)
    }

    #[test]
    fn the_status_is_that_of_the_first_final_response_and_the_text_is_whole() {
        let limit = Duration::from_secs(5);
        let (url, thread) = once(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        );
        let answer = get(&url, true, limit).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "hello"));
        thread.join().unwrap();
        let (url, thread) = once(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(get(&url, false, limit).unwrap().status, 302);
        thread.join().unwrap();
    }

    #[test]
    fn what_is_posted_arrives() {
        let (url, thread) = once(b"HTTP/1.1 204 No Content\r\n\r\n");
        let status = post(&url, &[("Title", "deployed")], "text", Duration::from_secs(5));
        assert_eq!(status, Ok(204));
        let asked = thread.join().unwrap();
        assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.to_ascii_lowercase().contains("\r\ntitle: deployed\r\n"),
            "{asked}"
        );
        assert!(asked.ends_with("\r\n\r\ntext"), "{asked}");
    }

    #[test]
    fn who_does_not_speak_http_is_said_and_no_address_is_named() {
        let (url, thread) = once(b"SSH-2.0-OpenSSH\r\n\r\n");
        assert_eq!(
            get(&url, false, Duration::from_secs(5)),
            Err("it does not speak HTTP".to_owned())
        );
        thread.join().unwrap();
        for url in [
            "http://127.0.0.1:1/s3cret",
            "http://s3cret:x/",
            "https://no-s3cret.invalid/",
        ] {
            let why = get(url, false, Duration::from_secs(5)).unwrap_err();
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
