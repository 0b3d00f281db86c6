//! Which access log a request to the service is written to, in which format, and what it can tell: by configurations as people
//! have them.

#[path = "support/config.rs"]
mod read_config;

use std::path::Path;

use read_config::inventory_of;
use rollback_prod::nginx::{AccessLog, ConfigFile, logging};

const CONFIG: &str = "service = \"listings\"\n[[host]]\nname = \"web1\"\nssh = \"web1\"\n[nginx]\nfile = \"/etc/nginx/x\"\n\
                      upstream = \"shop\"\n[blue]\nservers = [\"127.0.0.1:8080\"]\nrun.systemd = \"blue\"\n[green]\n\
                      servers = [\"127.0.0.1:8081\"]\nrun.systemd = \"green\"\n";

fn found(files: &[(&str, &str)]) -> Vec<AccessLog> {
    let files: Vec<ConfigFile> =
        files.iter().map(|(path, text)| ConfigFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    logging(&files, &inventory_of(Path::new("/etc/rollback.toml"), CONFIG.to_owned())).logs
}

const SITE: &str = "upstream shop { server 127.0.0.1:8080; server 127.0.0.1:8081 down; }\n";

/// As Debian's package has it.
const DEBIAN: &str =
    "events {}\nhttp {\n access_log /var/log/nginx/access.log;\n include /etc/nginx/sites-enabled/*;\n}\n";

#[test]
fn the_innermost_level_that_has_any_counts_and_off_is_none() {
    let site =
        |inside: &str, at: &str| format!("{SITE}server {{ {inside} location / {{ proxy_pass http://shop; {at} }} }}");
    let paths = |inside: &str, at: &str| -> Vec<String> {
        found(&[("nginx.conf", DEBIAN), ("shop", &site(inside, at))]).into_iter().map(|log| log.path).collect()
    };
    assert_eq!(paths("", ""), ["/var/log/nginx/access.log"]);
    assert_eq!(paths("access_log /a;", ""), ["/a"]);
    assert_eq!(paths("access_log /a;", "access_log /b;"), ["/b"]);
    assert_eq!(paths("access_log /a;", "access_log off;"), [""; 0]);
    // nginx's own default, and what is passed elsewhere.
    assert_eq!(found(&[("shop", &site("", ""))])[0].path, "/var/log/nginx/access.log");
    assert_eq!(found(&[("shop", &site("", "").replace("http://shop", "http://10.1.1.1:80"))]), []);
    assert_eq!(
        found(&[("shop", &site("access_log /a;", "").replace("http://shop", "http://127.0.0.1:8081/x"))])[0].path,
        "/a"
    );
    assert_eq!(found(&[("shop", &site("access_log /a;", "").replace("http://shop", "http://$active"))])[0].path, "/a");
}

#[test]
fn of_several_on_one_level_the_one_that_tells_most_is_read() {
    let http = "http { log_format full escape=json '{\"s\":$status,\"u\":\"$upstream_addr\",'\n '\"t\":$upstream_response_time}'; }";
    let site = format!(
        "{SITE}server {{ access_log /plain; access_log /full full buffer=32k flush=1s; access_log /some full if=$odd; proxy_pass http://shop; }}"
    );
    let logs = found(&[("nginx.conf", http), ("shop", &site)]);
    assert_eq!((logs.len(), logs[0].path.as_str(), &logs[0].unfit), (1, "/full", &None));
    assert!(logs[0].names_servers && logs[0].tells_times);
    assert_eq!(logs[0].form, r#"{"s":$status,"u":"$upstream_addr","t":$upstream_response_time}"#);
}

#[test]
fn what_nothing_can_be_judged_by_says_why() {
    for (line, why) in [
        ("access_log /a combined if=$loggable;", "only some requests are written to it (if=$loggable)"),
        ("access_log /a combined gzip=5;", "it is written packed"),
        ("access_log /var/log/$host.log;", "its name has a variable in it"),
        ("access_log syslog:server=unix:/dev/log combined;", "it goes to syslog"),
        ("access_log /a nosuch;", "its format nosuch is defined nowhere"),
        ("access_log /a bytes;", "it does not say how a request ended ($status)"),
    ] {
        let site = format!("log_format bytes '$body_bytes_sent';\n{SITE}server {{ {line} proxy_pass http://shop; }}");
        assert_eq!(found(&[("shop", &site)])[0].unfit.as_deref(), Some(why), "{line}");
    }
    // Two sites in one log that names no server: whose a request was nobody can say.
    let other = "server { server_name other; location / { proxy_pass http://10.1.1.1:80; } }";
    let site = format!("{SITE}server {{ proxy_pass http://shop; }}");
    let shared = found(&[("nginx.conf", DEBIAN), ("shop", &site), ("other", other)]);
    assert!(
        shared[0].unfit.as_deref().is_some_and(|why| why.starts_with("other sites write to it, too")),
        "{shared:?}"
    );
    assert_eq!(found(&[("nginx.conf", DEBIAN), ("shop", &site)])[0].unfit, None);
}
