//! From settings to a client.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, ProvideCredentials as _, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Access, Limits, Proxy, S3Keys, S3Settings};
use crate::model::{Failure, Result, Secret};

/// What is signed for where the storage has no regions.
const ANY_REGION: &str = "us-east-1";
/// Between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Looking for keys may ask a server of the cloud.
const SEARCH: Duration = Duration::from_secs(30);

/// Who vouches for certificates, and which proxy leads out.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The machine's own authorities, and the proxy that its environment names.
    Machine,
    /// Those that were handed on.
    Handed(&'a Access),
}

/// A client that retries within limits, and sends nothing that only AWS understands.
///
/// # Errors
/// When there are no keys, or no region.
pub async fn client(settings: &S3Settings, trust: Trust<'_>, limits: &Limits) -> Result<Client> {
    let http = http(settings, trust)?;
    let found = found(settings, &http).await?;
    let region = region(settings, &found)?;
    let endpoint = settings.endpoint.clone().or(found.endpoint);
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .credentials_provider(found.credentials)
        .region(region)
        // A bucket as a part of the host's name wants certificates and names that only large providers have.
        .force_path_style(endpoint.is_some())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // All requests of a process share an allowance of retries otherwise. Once a bad hour has used it up, each request is
        // tried once: what limits them here is the number of attempts.
        .retry_partition(
            RetryPartition::custom("rehome")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(limits.attempts)
                .with_max_backoff(LONGEST_PAUSE),
        )
        .timeout_config(limits.of(0))
        // Parts are handed over in one piece, which it takes for a stall; reading has a limit of its own.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(endpoint);
    Ok(Client::from_conf(config.build()))
}

/// Settings in which nothing is left to the profiles of AWS.
pub(super) async fn resolved(settings: &S3Settings) -> Result<S3Settings> {
    let http = http(settings, Trust::Machine)?;
    let found = found(settings, &http).await?;
    let region = region(settings, &found)?.to_string();
    let keys = match &settings.keys {
        Some(keys) => keys.clone(),
        None => {
            let credentials = found
                .credentials
                .provide_credentials()
                .await
                .map_err(|e| no_keys().because(&e))?;
            S3Keys {
                id: credentials.access_key_id().to_owned(),
                secret: Secret::new(credentials.secret_access_key()),
                token: credentials.session_token().map(Secret::new),
            }
        }
    };
    Ok(S3Settings {
        endpoint: settings.endpoint.clone().or(found.endpoint),
        region: Some(region),
        keys: Some(keys),
        profile: None,
    })
}

/// The machine's authorities, PEM.
pub(super) fn trusted() -> Result<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let failure = Failure::environment("this machine trusts no authority for certificates")
            .hint("apt-get install ca-certificates, or set SSL_CERT_FILE");
        return Err(found
            .errors
            .iter()
            .fold(failure, |all, one| all.cause(one.to_string())));
    }
    let mut pem = String::new();
    for certificate in &found.certs {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = BASE64_STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(pem.into_bytes())
}

async fn found(settings: &S3Settings, http: &SharedHttpClient) -> Result<Found> {
    let Some(keys) = &settings.keys else {
        return search(settings, http).await;
    };
    let token = keys.token.as_ref().map(|token| token.reveal().to_owned());
    let credentials = Credentials::new(&keys.id, keys.secret.reveal(), token, None, "rehome");
    Ok(Found {
        credentials: SharedCredentialsProvider::new(credentials),
        region: None,
        endpoint: None,
    })
}

fn region(settings: &S3Settings, found: &Found) -> Result<Region> {
    let known = settings
        .region
        .clone()
        .map(Region::new)
        .or_else(|| found.region.clone());
    match (known, settings.endpoint.is_some() || found.endpoint.is_some()) {
        (Some(region), _) => Ok(region),
        (None, true) => Ok(Region::from_static(ANY_REGION)),
        (None, false) => Err(Failure::refused("nothing says in which region the bucket is")
            .hint("set AWS_S3_REGION_NAME, and AWS_S3_ENDPOINT_URL if it is not at AWS")),
    }
}

fn no_keys() -> Failure {
    Failure::refused("there are no keys for the S3 storage")
        .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env or the environment, or AWS_PROFILE")
}

/// What AWS's own files and environment say.
struct Found {
    credentials: SharedCredentialsProvider,
    region: Option<Region>,
    endpoint: Option<String>,
}

/// Keys where AWS's own programs find them: the environment, profiles, the machine's role.
async fn search(settings: &S3Settings, http: &SharedHttpClient) -> Result<Found> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = settings
        .region
        .clone()
        .or_else(|| settings.endpoint.as_ref().map(|_| ANY_REGION.to_owned()))
    {
        loader = loader.region(Region::new(region));
    }
    let find = async {
        let found = loader.load().await;
        let provider = found.credentials_provider().ok_or_else(no_keys)?;
        provider
            .provide_credentials()
            .await
            .map_err(|e| no_keys().because(&e))?;
        Ok(Found {
            credentials: provider,
            region: found.region().cloned(),
            endpoint: found.endpoint_url().map(str::to_owned),
        })
    };
    match tokio::time::timeout(SEARCH, find).await {
        Ok(found) => found,
        Err(_) => Err(no_keys().cause(format!("the search took longer than {} s", SEARCH.as_secs()))),
    }
}

/// HTTP and HTTPS, through the proxy that there is.
fn http(settings: &S3Settings, trust: Trust<'_>) -> Result<SharedHttpClient> {
    let trusted = match trust {
        // Without TLS the machine's authorities are not needed, and may be missing.
        Trust::Machine if settings.is_plain() => TrustStore::empty(),
        Trust::Machine => TrustStore::default(),
        Trust::Handed(access) if access.authorities.is_empty() => TrustStore::empty(),
        Trust::Handed(access) => TrustStore::empty().with_pem_certificate(access.authorities.as_slice()),
    };
    let proxy = match trust {
        Trust::Machine => ProxyConfig::from_env(),
        Trust::Handed(access) => access
            .proxy
            .as_ref()
            .and_then(Proxy::config)
            .unwrap_or_else(ProxyConfig::disabled),
    };
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|e| Failure::environment("cannot use TLS").because(&e))?;
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .proxy_config(proxy.clone())
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(tls.clone());
            connector.set_connector_settings(settings.cloned());
            if let Some(sleep) = components.and_then(|all| all.sleep_impl()) {
                connector = connector.sleep_impl(sleep);
            }
            connector.build()
        }),
    )
}
