//! Asks a Prometheus, from this machine. What it answers is read, and judged, in [`crate::judge::prometheus`].

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;

use crate::judge::prometheus::{alerts_query, firing, number, of_alerts, of_query};
use crate::nouns::inventory::{Asks, Login, Prometheus};
use crate::nouns::rules::Finding;

/// What an answer may take, and how long it may be.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: u64 = 1 << 20;

/// What one look after the other found.
#[derive(Debug, Default)]
pub struct Looks {
    /// How often in a row a value was over its limit.
    over: BTreeMap<String, u32>,
}

impl Looks {
    /// Asks everything at once.
    pub async fn look(&mut self, prometheus: &Prometheus) -> Vec<Finding> {
        let ask = |query: String| ask(prometheus, query);
        let alerts = async {
            let labels = prometheus.alerts.as_ref()?;
            Some(of_alerts(ask(alerts_query(labels)).await.and_then(|answer| firing(&answer))))
        };
        let numbers = join_all(prometheus.queries.iter().map(|query| {
            let texts = match &query.asks {
                Asks::Share { bad, of, .. } => vec![bad.clone(), of.clone()],
                Asks::Value { expr, .. } => vec![expr.clone()],
            };
            join_all(texts.into_iter().map(|text| async { ask(text).await.and_then(|answer| number(&answer)) }))
        }));
        let (alerts, numbers) = futures_util::future::join(alerts, numbers).await;
        let mut findings: Vec<Finding> = alerts.into_iter().collect();
        for (query, numbers) in prometheus.queries.iter().zip(numbers) {
            findings.push(of_query(query, &numbers, self.over.entry(query.name.clone()).or_default()));
        }
        findings
    }
}

async fn ask(prometheus: &Prometheus, query: String) -> Result<String, String> {
    let url = format!("{}/api/v1/query", prometheus.url);
    let login = prometheus.login.as_ref().map(|login| match login {
        Login::Token(token) => format!("Bearer {}", token.reveal()),
        Login::Password { user, password } => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
        }
    });
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_LIMIT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
            .build()
            .into();
        let mut request = agent.post(&url);
        if let Some(login) = &login {
            request = request.header("Authorization", login);
        }
        let mut response = request.send_form([("query", query.as_str())]).map_err(|err| err.to_string())?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        match (status, body) {
            // 400 and 422 say in their body why.
            (200 | 400 | 422 | 503, Ok(body)) => Ok(body),
            (status, _) => Err(format!("it answers {status}")),
        }
    });
    asked.await.unwrap_or_else(|_| Err("asking it ended early".to_owned()))
}
