//! What a public URL's server shows of itself before anything is asked: until when its certificate is good, for whom, and whether
//! this machine believes it. From this machine; talks to no host by ssh, and sends nothing over the connection.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::context::locked;
use crate::nouns::names::HttpUrl;
use crate::nouns::record::plural;

/// What a handshake may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Before that somebody should have renewed it: two weeks are what people notice.
const SOON: TimeDelta = TimeDelta::days(14);

/// A certificate, as its server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    pub until: DateTime<Utc>,
    /// Why this machine does not believe it: the end of a sentence that begins with it.
    pub problem: Option<String>,
}

impl ShownCertificate {
    /// That it ends soon, in words; `None` where it does not, or is bad anyway.
    pub fn warning(&self, now: DateTime<Utc>) -> Option<String> {
        let left = self.until - now;
        let days = usize::try_from(left.num_days()).unwrap_or_default();
        let date = self.until.format("%Y-%m-%d");
        (self.problem.is_none() && left < SOON).then(|| format!("ends in {} ({date})", plural(days, "day")))
    }
}

/// `None` where there is none to be shown: the URL is not one of https.
///
/// # Errors
/// Why nobody shows one: no connection, no handshake.
pub async fn look(url: &HttpUrl, now: DateTime<Utc>) -> Option<Result<ShownCertificate, String>> {
    let (host, port) = url.https_server()?;
    let looked = tokio::task::spawn_blocking(move || shown(&host, port, now));
    Some(looked.await.unwrap_or_else(|_| Err("looking at it ended early".to_owned())))
}

fn shown(host: &str, port: u16, now: DateTime<Utc>) -> Result<ShownCertificate, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|err| err.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = Verifier::new(Arc::clone(&provider)).map_err(|err| err.to_string())?;
    let looker = Arc::new(Looker { inner, seen: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| err.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&looker) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|err| err.to_string())?;
    let addresses = (host, port).to_socket_addrs().map_err(|err| err.to_string())?;
    let mut last = "its name leads nowhere".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Err(err) => last = err.to_string(),
            Ok(mut stream) => {
                let waits = stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_write_timeout(Some(LIMIT)));
                waits.map_err(|err| err.to_string())?;
                let shaken = connection.complete_io(&mut stream).map(|_| ());
                // What was shown was shown, whatever became of the handshake afterwards.
                return match (locked(&looker.seen).take(), shaken) {
                    (Some(seen), _) => judged(seen, host, now),
                    (None, Err(err)) => Err(err.to_string()),
                    (None, Ok(())) => Err("it shows no certificate".to_owned()),
                };
            }
        }
    }
    Err(last)
}

fn judged(seen: SeenCertificate, host: &str, now: DateTime<Utc>) -> Result<ShownCertificate, String> {
    let (_, read) =
        parse_x509_certificate(&seen.bytes).map_err(|err| format!("its certificate cannot be read: {err}"))?;
    let until = DateTime::from_timestamp(read.validity().not_after.timestamp(), 0).unwrap_or_default();
    let names = read.subject_alternative_name().ok().flatten().map_or(Vec::new(), |names| {
        let names = names.value.general_names.iter();
        names
            .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
            .collect()
    });
    let problem = seen.verdict.err().map(|err| match err {
        _ if until < now => {
            let days = usize::try_from((now - until).num_days()).unwrap_or_default();
            format!("expired {} ago ({})", plural(days, "day"), until.format("%Y-%m-%d"))
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => match names.is_empty() {
            true => format!("names nobody, and so not {host}"),
            false => format!("is for {}, and not for {host}", names.join(", ")),
        },
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "is signed by nobody whom this machine trusts, or a link of its chain is not shown".to_owned()
        }
        other => format!("is not believed: {other}"),
    });
    Ok(ShownCertificate { until, problem })
}

/// Looks at what is shown and lets the handshake go on: nothing is sent over it.
#[derive(Debug)]
struct Looker {
    inner: Verifier,
    seen: Mutex<Option<SeenCertificate>>,
}

/// The server's own certificate, and what this machine thinks of it.
#[derive(Debug)]
struct SeenCertificate {
    bytes: Vec<u8>,
    verdict: Result<(), rustls::Error>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(certificate, chain, name, ocsp, now).map(|_| ());
        *locked(&self.seen) = Some(SeenCertificate { bytes: certificate.to_vec(), verdict });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
