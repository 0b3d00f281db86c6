//! What is asked and run on this machine: public URLs, and the operator's smoke command. Talks to no host by ssh.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

use crate::nouns::names::HttpUrl;
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
    let mut command = tokio::process::Command::new("sh");
    command.arg("-c").arg(line).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for us; a smoke command that is cut half-way would look like a failure.
    command.process_group(0).kill_on_drop(true);
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
        command.current_dir(folder);
    }
    match timeout(limit, command.output()).await {
        Err(_) => Err(format!("has not ended after {} s", limit.as_secs_f64())),
        Ok(Err(err)) => Err(format!("cannot be started: {err}")),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
            Err(format!("{}: {}", output.status, last.trim()))
        }
    }
}
