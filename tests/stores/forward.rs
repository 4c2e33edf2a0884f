//! A proxy as companies have one: it wants a name and a password, carries tunnels and plain requests, and knows names that
//! nobody else does. What goes by is counted, not by Rehome.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Who may use it.
pub const USER: &str = "me:p@ss-for-tests";

#[derive(Default)]
struct Seen {
    tunnels: usize,
    refused: usize,
    methods: BTreeMap<String, u64>,
}

pub struct Forward {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Forward {
    /// Everything that is asked of it goes to `http://host:port` or `https://host:port`, whatever it is called there.
    pub fn to(address: &str) -> Self {
        let (_, upstream) = address.split_once("://").unwrap();
        let upstream = upstream.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
                std::thread::spawn(move || {
                    // A connection that breaks is the other side's to notice.
                    serve(client, &upstream, &shared).unwrap_or_default();
                });
            }
        });
        Self { port, seen }
    }

    /// Its address, with a name and a password as a URL has them.
    pub fn address(&self) -> String {
        format!(
            "http://{}@127.0.0.1:{}",
            USER.replace("p@ss", "p%40ss"),
            self.port
        )
    }

    pub fn stranger(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn tunnels(&self) -> usize {
        self.seen.lock().unwrap().tunnels
    }

    pub fn refused(&self) -> usize {
        self.seen.lock().unwrap().refused
    }

    /// Plain requests by their method, since this was asked last.
    pub fn methods(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.seen.lock().unwrap().methods)
    }
}

/// One request after the other, each over a connection of its own to the server.
fn serve(client: TcpStream, upstream: &str, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            headers.push(line);
        }
        let header = |name: &str| {
            let found = headers.iter().find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            });
            found.unwrap_or_default()
        };
        let length: u64 = header("content-length").parse().unwrap_or(0);
        if header("proxy-authorization") != format!("Basic {}", BASE64_STANDARD.encode(USER)) {
            seen.lock().unwrap().refused += 1;
            std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
            client.write_all(
                b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            )?;
            continue;
        }
        let words: Vec<&str> = first.split_whitespace().collect();
        let mut server = TcpStream::connect(upstream)?;
        if words[0] == "CONNECT" {
            seen.lock().unwrap().tunnels += 1;
            client.write_all(b"HTTP/1.1 200 Fine\r\n\r\n")?;
            let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
            let down = std::thread::spawn(move || {
                std::io::copy(&mut from, &mut to).unwrap_or_default();
                to.shutdown(Shutdown::Both).unwrap_or_default();
            });
            std::io::copy(&mut reader, &mut server).unwrap_or_default();
            server.shutdown(Shutdown::Both).unwrap_or_default();
            down.join().unwrap_or_default();
            return Ok(());
        }
        *seen
            .lock()
            .unwrap()
            .methods
            .entry(words[0].to_owned())
            .or_default() += 1;
        // `http://host/path` becomes `/path`; the signature is over the host that was asked for, which stays.
        let path = words[1].splitn(4, '/').nth(3).unwrap_or("");
        let mut head = format!("{} /{path} HTTP/1.1\r\n", words[0]);
        for line in headers {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if !matches!(name.as_str(), "proxy-authorization" | "connection") {
                head.push_str(&line);
            }
        }
        head.push_str("Connection: close\r\n\r\n");
        server.write_all(head.as_bytes())?;
        std::io::copy(&mut (&mut reader).take(length), &mut server)?;
        std::io::copy(&mut server, &mut client)?;
        // Its end is that of the answer.
        client.shutdown(Shutdown::Both)?;
        return Ok(());
    }
}
