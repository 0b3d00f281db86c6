//! What is asked and run on this machine: public URLs, and the operator's smoke command. Talks to no host by ssh.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::nouns::names::HttpUrl;
use crate::steps::here::{self, LocalWords};
use crate::steps::passes::{self, InARow};

/// What an answer from the outside may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Asks a URL until it has answered with a 2xx so many times in a row.
///
/// # Errors
/// The last thing that was not good, when the time is over.
pub async fn passes_in_a_row(url: &HttpUrl, wanted: InARow) -> Result<(), String> {
    passes::in_a_row(wanted, || true, async || get(url.as_str().to_owned(), ANSWER_LIMIT).await).await
}

/// Where the name in a URL leads, by this machine's resolver; nothing where that is an address, or nobody knows.
pub async fn leads_to(url: &HttpUrl) -> Vec<IpAddr> {
    let Some((host, port)) = url.server().filter(|(host, _)| host.parse::<IpAddr>().is_err()) else {
        return Vec::new();
    };
    let found = tokio::time::timeout(ANSWER_LIMIT, tokio::net::lookup_host((host.as_str(), port))).await;
    found.ok().and_then(Result::ok).map_or(Vec::new(), |found| found.map(|address| address.ip()).collect())
}

async fn get(url: String, limit: Duration) -> Result<(), String> {
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .max_redirects(3)
            .http_status_as_error(false)
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
            .build()
            .into();
        match agent.get(&url).call() {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answers {}", response.status().as_u16())),
            Err(err) => Err(err.to_string()),
        }
    });
    match asked.await {
        Ok(answer) => answer,
        Err(_) => Err("asking it ended early".to_owned()),
    }
}

/// Runs the operator's line with `sh -c` in the config's folder.
///
/// # Errors
/// How it ended and the last line it said.
pub async fn smoke(line: &str, folder: Option<&Path>, limit: Duration) -> Result<(), String> {
    let words = ["sh", "-c", line].map(str::to_owned);
    here::run(&LocalWords { words: &words, folder, env: &[], limit }).await.result()
}
