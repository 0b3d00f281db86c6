//! What a public URL's server shows of itself: certificates of an authority of the test's own, shown by a real TLS server.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::{Scene, rollback_prod};

fn openssl(folder: &Path, words: &[&str]) {
    let said = Command::new("openssl").args(words).current_dir(folder).output().expect("openssl is there");
    assert!(said.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// An authority that this test trusts, and one that nobody does.
fn authorities(folder: &Path) {
    for name in ["ours", "theirs"] {
        let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        openssl(
            folder,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "30",
                "-subj",
                &subject,
                "-keyout",
                &key,
                "-out",
                &certificate,
            ],
        );
    }
}

/// A certificate for a name, good until so many days from now.
fn certificate(folder: &Path, file: &str, authority: &str, name: &str, days: &str) {
    let (key, request, certificate, extensions) =
        (format!("{file}.key"), format!("{file}.csr"), format!("{file}.pem"), format!("{file}.ext"));
    std::fs::write(folder.join(&extensions), format!("subjectAltName=DNS:{name}\n")).expect("a file");
    openssl(folder, &["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", &key, "-out", &request]);
    let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ],
    );
}

/// A TLS server that answers everything with a page; ended with the test.
struct Shows(Child, u16);

impl Shows {
    fn start(folder: &Path, file: &str) -> Shows {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let (certificate, key) = (format!("{file}.pem"), format!("{file}.key"));
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-www",
            "-quiet",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-cert",
            &certificate,
            "-key",
            &key,
        ]);
        let child =
            command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Shows(child.expect("openssl is there"), port);
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.1)
    }
}

impl Drop for Shows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn check_and_a_rollback_tell_what_users_will_not_believe_and_what_ends_soon() {
    let lab = Lab::up(&["web1"]);
    let folder = lab.folder().join("tls");
    std::fs::create_dir_all(&folder).expect("a folder");
    authorities(&folder);
    certificate(&folder, "good", "ours", "localhost", "90");
    certificate(&folder, "soon", "ours", "localhost", "9");
    certificate(&folder, "other", "ours", "shop.example.com", "90");
    certificate(&folder, "stranger", "theirs", "localhost", "90");
    // Its last day is before its first one: it has never been good.
    certificate(&folder, "over", "ours", "localhost", "-1");
    let servers = ["good", "soon", "other", "stranger", "over"].map(|file| Shows::start(&folder, file));
    let urls: Vec<String> = servers.iter().map(Shows::url).collect();
    let run = |urls: &[String], words: &[&str]| {
        let listed: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
        let public = format!("[verify]\npublic = [{}]\n", listed.join(", "));
        let config = lab.config_with(|text| text.replace("[verify]\n", &public));
        let mut command = rollback_prod();
        command.args(words).arg("--config").arg(&config).env("SSL_CERT_FILE", folder.join("ours.pem"));
        Scene::of(command.current_dir(lab.folder()), lab.folder())
    };
    let check = |urls: &[String]| run(urls, &["check"]);
    let scene = check(&urls);
    scene.exits(1);
    scene.never_says(&format!("{}: its certificate", urls[0]));
    scene.says(&format!("{}: its certificate ends in 8 days (", urls[1]));
    scene.says(&format!("error: {}: its certificate is for shop.example.com, and not for localhost", urls[2]));
    scene.says(&format!("error: {}: its certificate is signed by nobody whom this machine trusts", urls[3]));
    scene.says(&format!("error: {}: its certificate expired 1 day ago (", urls[4]));
    scene.says("its name leads to 127.0.0.1, which is no address of a balancer here");
    // One that is good, or ends soon, stands in nobody's way.
    check(&urls[..2]).exits(0);
    // Nor in that of a rollback, which says it when it is done: whoever looks then has time for it.
    let back = run(&urls[..2], &["--reason", "error rate of 12 percent"]);
    let soon = format!("{}: its certificate ends in 8 days (", urls[1]);
    back.exits(0).says(&format!("{} answers", urls[1])).says(&soon);
    back.never_says(&format!("{}: its certificate", urls[0]));
    let incidents = std::fs::read_dir(lab.folder().join("incidents")).expect("its folder").flatten();
    let folder = incidents.map(|entry| entry.path()).find(|path| path.is_dir()).expect("an incident");
    let report = std::fs::read_to_string(folder.join("INCIDENT_REPORT.md")).expect("a report");
    back.holds(report.contains(&soon), &report);
    drop(servers);
    check(&urls[..1]).exits(0).says("its certificate was not seen from here");
}
