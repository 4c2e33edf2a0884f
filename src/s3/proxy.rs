//! The proxy between this machine and a storage. The environment names it, and the helper has none of it: it is handed on.

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper_util::client::proxy::matcher::Matcher;

use super::S3Settings;
use super::settings::{host_of, is_this_machine};
use crate::model::{Failure, Result, Secret};

/// The address of a proxy. A password may be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy(Secret);

impl Proxy {
    /// The one that leads to a storage, by the names that every program knows: `HTTPS_PROXY` or `HTTP_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`, in capitals or not. What is on this machine, or has a name without a dot (as a service of the project
    /// has), is asked directly: a proxy would look for it on its own machine.
    ///
    /// # Errors
    /// When it is none that can be used.
    pub fn to(settings: &S3Settings, names: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let address = settings.address();
        let Some(host) = host_of(&address) else {
            return Ok(None);
        };
        if is_this_machine(&address) || !host.contains(['.', ':']) {
            return Ok(None);
        }
        let first = |name: &str| {
            let found = [name.to_owned(), name.to_ascii_lowercase()];
            let mut found = found.iter().filter_map(|name| Some((name.clone(), names(name)?)));
            found.find(|(_, value)| !value.trim().is_empty())
        };
        let own = match settings.is_plain() {
            true => "HTTP_PROXY",
            false => "HTTPS_PROXY",
        };
        let Some((name, value)) = first(own).or_else(|| first("ALL_PROXY")) else {
            return Ok(None);
        };
        let proxy = Self::new(value.trim()).ok_or_else(|| {
            // Not its address: a password may be in it.
            Failure::refused(format!("{name} names no proxy that can be used"))
                .cause("only those that are asked by http:// or https:// can")
                .data("nothing was changed")
                .hint(format!("if the storage is reached without: NO_PROXY={host}"))
        })?;
        let not = first("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
        let rules = Matcher::builder().all(proxy.reveal()).no(not).build();
        let leads = address
            .parse()
            .is_ok_and(|address| rules.intercept(&address).is_some());
        Ok(leads.then_some(proxy))
    }

    /// An address; without a scheme it is asked by HTTP, as every program has it.
    pub(super) fn new(address: &str) -> Option<Self> {
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let proxy = Self(Secret::new(address));
        (host_of(proxy.reveal()).is_some() && proxy.config().is_some()).then_some(proxy)
    }

    /// Whether it is asked over TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.reveal().starts_with("https://")
    }

    /// Whether it is at an address that only this machine has.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        is_this_machine(self.reveal())
    }

    pub(super) fn config(&self) -> Option<ProxyConfig> {
        ProxyConfig::all(self.reveal()).ok()
    }

    /// Its address, for whoever asks it.
    pub(super) fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(endpoint: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        let settings = S3Settings {
            endpoint: endpoint.map(str::to_owned),
            region: Some("eu-central-1".to_owned()),
            ..S3Settings::default()
        };
        let names = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let found = Proxy::to(&settings, &names).unwrap();
        found.map(|proxy| proxy.reveal().to_owned())
    }

    #[test]
    fn the_environment_names_it_and_says_where_there_is_none() {
        let (plain, tls) = ("http://s3.example.org:9000", "https://fra1.example.org");
        let both = [("HTTP_PROXY", "http://p:1"), ("https_proxy", "https://p:2")];
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(leads(Some(plain), &both), some("http://p:1"));
        assert_eq!(leads(Some(tls), &both), some("https://p:2"));
        assert_eq!(leads(None, &both), some("https://p:2"), "AWS itself");
        assert_eq!(leads(Some(plain), &[("ALL_PROXY", "p:3")]), some("http://p:3"));
        assert_eq!(leads(Some(plain), &[("HTTPS_PROXY", "http://p:1")]), None);
        assert_eq!(leads(Some(plain), &[("HTTP_PROXY", " ")]), None);
        for not in ["*", "example.org", ".example.org", "a, s3.example.org"] {
            let env = [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", not)];
            assert_eq!(leads(Some(plain), &env), None, "{not}");
        }
        for not in ["xample.org", "fra1.example.org", "10.0.0.0/8"] {
            let env = [("HTTP_PROXY", "http://p:1"), ("no_proxy", not)];
            assert_eq!(leads(Some(plain), &env), some("http://p:1"), "{not}");
        }
        let env = [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "10.0.0.0/8")];
        assert_eq!(leads(Some("http://10.1.2.3:9000"), &env), None);
        let env = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", ".amazonaws.com")];
        assert_eq!(leads(None, &env), None);
    }

    #[test]
    fn what_is_near_is_asked_directly() {
        for near in [
            "http://localhost:9000",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://minio:9000",
        ] {
            assert_eq!(leads(Some(near), &[("HTTP_PROXY", "http://p:1")]), None, "{near}");
        }
    }

    #[test]
    fn one_that_cannot_be_used_is_said_without_its_password() {
        let settings = S3Settings {
            endpoint: Some("http://s3.example.org".to_owned()),
            ..S3Settings::default()
        };
        for bad in ["socks5://me:hunter2@p:1", "http://me:hunter2@", "http:// hunter2"] {
            let names = |name: &str| (name == "HTTP_PROXY").then(|| bad.to_owned());
            let failure = Proxy::to(&settings, &names).unwrap_err();
            assert_eq!(failure.what, "HTTP_PROXY names no proxy that can be used");
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }

    #[test]
    fn it_is_of_this_machine_also_with_a_password() {
        let of = |address: &str| Proxy::new(address).unwrap().is_of_this_machine();
        assert!(of("http://me:p%40ss@localhost:3128") && of("127.0.0.1:3128"));
        assert!(!of("http://localhost:x@proxy.example.org:3128"));
        assert!(!format!("{:?}", Proxy::new("http://me:hunter2@p:1")).contains("hunter2"));
    }
}
