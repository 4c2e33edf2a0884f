//! What a process elsewhere needs to reach the storage: the helper has neither `.env` nor the machine's authorities.

use serde::{Deserialize, Serialize};

use super::connect::{resolved, trusted};
use super::{Proxy, S3Keys, S3Settings};
use crate::model::{Failure, Result, Secret};

/// Settings with the keys in them, and who vouches for certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Settings, whose keys and region are known.
    pub settings: S3Settings,
    /// Certificates of authorities, PEM; none where nothing is encrypted.
    pub authorities: Vec<u8>,
    /// What leads there, if it is not reached directly.
    pub proxy: Option<Proxy>,
}

/// As it goes through a pipe, and nowhere else.
#[derive(Serialize, Deserialize)]
struct Wire {
    endpoint: Option<String>,
    region: Option<String>,
    id: String,
    secret: String,
    token: Option<String>,
    authorities: String,
    #[serde(default)]
    proxy: Option<String>,
}

impl Access {
    /// Finds the keys, the region, the machine's authorities, and the proxy that its environment names.
    ///
    /// # Errors
    /// When there are no keys, or no region; when the proxy is none that can be used.
    pub async fn find(settings: &S3Settings) -> Result<Self> {
        let settings = resolved(settings).await?;
        let proxy = Proxy::to(&settings, &|name| std::env::var(name).ok())?;
        let authorities = match settings.is_plain() && !proxy.as_ref().is_some_and(Proxy::is_tls) {
            true => Vec::new(),
            false => trusted()?,
        };
        Ok(Self {
            settings,
            authorities,
            proxy,
        })
    }

    /// Whether what is asked first answers at an address that only this machine has.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        match &self.proxy {
            Some(proxy) => proxy.is_of_this_machine(),
            None => self.settings.is_of_this_machine(),
        }
    }

    /// For a pipe to a process of ours: the secrets are in it.
    ///
    /// # Errors
    /// When there are no keys.
    pub fn to_wire(&self) -> Result<Vec<u8>> {
        let bug = |why: &str| Failure::bug("the access to the storage cannot be handed on").cause(why);
        let settings = &self.settings;
        let keys = settings
            .keys
            .as_ref()
            .ok_or_else(|| bug("there are no keys in it"))?;
        let wire = Wire {
            endpoint: settings.endpoint.clone(),
            region: settings.region.clone(),
            id: keys.id.clone(),
            secret: keys.secret.reveal().to_owned(),
            token: keys.token.as_ref().map(|token| token.reveal().to_owned()),
            authorities: String::from_utf8(self.authorities.clone())
                .map_err(|_| bug("certificates are text"))?,
            proxy: self.proxy.as_ref().map(|proxy| proxy.reveal().to_owned()),
        };
        serde_json::to_vec(&wire).map_err(|e| bug(&e.to_string()))
    }

    /// Out of a pipe.
    ///
    /// # Errors
    /// When it is not what [`Self::to_wire`] wrote.
    pub fn from_wire(bytes: &[u8]) -> Result<Self> {
        // The error of the reader could show a piece of what it read.
        let bug = || Failure::bug("the access to the storage cannot be understood");
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| bug())?;
        let proxy = wire.proxy.map(|address| Proxy::new(&address).ok_or_else(bug));
        Ok(Self {
            settings: S3Settings {
                endpoint: wire.endpoint,
                region: wire.region,
                keys: Some(S3Keys {
                    id: wire.id,
                    secret: Secret::new(wire.secret),
                    token: wire.token.map(Secret::new),
                }),
                profile: None,
            },
            authorities: wire.authorities.into_bytes(),
            proxy: proxy.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_through_a_pipe_as_it_was_and_does_not_show() {
        let access = Access {
            settings: S3Settings {
                endpoint: Some("https://fra1.example.com".into()),
                region: Some("fra1".into()),
                keys: Some(S3Keys {
                    id: "me".into(),
                    secret: Secret::new("hunter2"),
                    token: Some(Secret::new("hunter3")),
                }),
                profile: None,
            },
            authorities: b"-----BEGIN CERTIFICATE-----\n".to_vec(),
            proxy: Proxy::new("http://me:hunter4@proxy.example.org:3128"),
        };
        assert!(access.proxy.is_some() && !format!("{access:?}").contains("hunter"));
        assert_eq!(Access::from_wire(&access.to_wire().unwrap()).unwrap(), access);
        let failure = Access::from_wire(b"{\"secret\": hunter2").unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter"));
    }
}
