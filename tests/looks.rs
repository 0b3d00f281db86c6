//! What is seen on a host before anything is changed there, and what a plan makes of it: addresses, programs that cannot
//! start, processes that both colours share, probes that prove nothing. On real hosts; one lab for the cases of a test.

#[path = "support/site.rs"]
mod site;
mod support;

use std::time::Duration;

use rollback_prod::hosts::answer::{Answer, sections};
use rollback_prod::hosts::program::{Nonce, Program, shell_text};
use rollback_prod::steps::supervisor::given_up;
use site::*;
use support::Scene;
use support::lab::Lab;

/// A web server that says who it is on several ports at once, and on one more when it gets SIGUSR1.
const SHARED: &str = r#"import http.server, signal, socket, sys, threading, time, urllib.parse
name, wanted = sys.argv[1], sys.argv[2:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path == "/slow":
            time.sleep(int(urllib.parse.parse_qs(url.query)["ms"][0]) / 1000)
        body = (name + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
class Server6(Server):
    address_family = socket.AF_INET6
def listen(place):
    host, port = place.rsplit(":", 1)
    server = (Server6 if ":" in host else Server)((host.strip("[]"), int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
later = [place[1:] for place in wanted if place[0] == "+"]
signal.signal(signal.SIGUSR1, lambda *_: [listen(place) for place in later])
for place in wanted:
    if place[0] != "+":
        listen(place)
while True:
    time.sleep(1)
"#;

/// Green as that web server, in the unit that the config names.
fn green_is_shared_server(lab: &Lab, places: &str) {
    install(lab, "web1", "/opt/listings/shared.py", SHARED);
    let start = format!("ExecStart=\nExecStart=/usr/bin/python3 /opt/listings/shared.py green {places}");
    drop_in(lab, "web1", "listings-green", &start);
    lab.sh("web1", "systemctl restart listings-green");
}

/// Waits until an URL answers on the host itself.
#[track_caller]
fn answers(lab: &Lab, url: &str) {
    until(&format!("{url} answers"), || lab.exec("web1", &["curl", "-fsgk", "-m", "2", url]).status.success());
}

#[test]
fn a_balancer_that_speaks_ipv6_to_green_is_no_stranger() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "ip -6 addr add fd00::51/64 dev host0 nodad");
    green_is_shared_server(&lab, "[fd00::51]:8081");
    let text = read(&lab, "web1", FILE).replace("127.0.0.1:8081", "[fd00::51]:8081");
    write(&lab, "web1", FILE, &text);
    answers(&lab, "http://[fd00::51]:8081/");
    lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    until("nginx sends to green", || served_by(&lab, "web1") == "green");
    lab.config_with(|text| {
        text.replace("\"127.0.0.1:8081\"", "\"[fd00::51]:8081\"")
            .replace("[drain]\ntimeout = \"10s\"", "[drain]\ntimeout = \"2s\"")
    });
    // Still under way at the deadline: the balancer's own connection to green is open, and is explained by it.
    let ip = lab.ip("web1");
    let slow = || {
        let ip = ip.clone();
        std::thread::spawn(move || get(&ip, "/slow?ms=20000"))
    };
    let mut under_way = slow();
    until("green has the request", || {
        // On a busy machine one may be over before anybody has looked.
        if under_way.is_finished() {
            under_way = slow();
        }
        !lab.sh("web1", "ss -Htn state established '( sport = :8081 )'").is_empty()
    });
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("at the deadline; they are cut").says("green stopped").never_says("none of our balancers");
    scene.holds(unit(&lab, "web1", "listings-green") == "inactive", "green is stopped");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    under_way.join().expect("curl ends");
}

/// One server on both ports, started by hand, instead of both units; the config names it as a process for each colour.
fn one_process_for_both(lab: &Lab) -> String {
    install(lab, "web1", "/opt/listings/shared.py", SHARED);
    lab.sh("web1", "systemctl stop listings-blue listings-green");
    let started = lab.ssh(
        "web1",
        "setsid python3 /opt/listings/shared.py both 127.0.0.1:8080 127.0.0.1:8081 </dev/null >/dev/null 2>&1 &",
    );
    assert!(started.status.success(), "{started:?}");
    answers(lab, "http://127.0.0.1:8080/");
    answers(lab, "http://127.0.0.1:8081/");
    // A link, as most people know it; what runs is what it leads to.
    "/usr/bin/python3".to_owned()
}

const BLUE_UNIT: &str = "run.systemd = \"listings-blue.service\"";
const GREEN_UNIT: &str = "run.systemd = \"listings-green.service\"";

fn as_processes(text: &str, exe: &str) -> String {
    let process = |port: u16| format!("run.process = {{ exe = \"{exe}\", port = {port} }}");
    text.replace(BLUE_UNIT, &process(8080)).replace(GREEN_UNIT, &process(8081))
}

#[test]
fn whoever_serves_both_colours_is_never_stopped() {
    let lab = Lab::up(&["web1"]);
    let exe = one_process_for_both(&lab);
    lab.config_with(|text| as_processes(&text, &exe));
    let pid = lab.sh("web1", "pgrep -of shared.p[y]");
    let both_serve = |scene: &Scene| {
        answers(&lab, "http://127.0.0.1:8080/");
        answers(&lab, "http://127.0.0.1:8081/");
        scene.holds(lab.sh("web1", "pgrep -of shared.p[y]") == pid, "it is the same process as before");
        scene.holds(served_by(&lab, "web1") == "both", "nginx answers");
    };
    for words in [&["check"][..], &["--reason", "x", "--dry-run"], &["--reason", "x"]] {
        let scene = run(&lab, words);
        scene.exits(1).says("the same process listens on port 8081").says("--keep-green").says(&format!("pid {pid}"));
        both_serve(&scene);
    }
    // Traffic alone may move: nobody is stopped for it.
    let scene = rollback(&lab, &["--keep-green"]);
    scene.exits(0);
    both_serve(&scene);

    // The same in one unit: green's, which holds blue's port too.
    lab.sh("web1", "pkill -f shared.p[y]; systemctl start listings-blue");
    green_is_shared_server(&lab, "127.0.0.1:8081 127.0.0.1:8085");
    answers(&lab, "http://127.0.0.1:8085/");
    answers(&lab, "http://127.0.0.1:8080/health");
    lab.config_with(|text| {
        text.replace("127.0.0.1:8080", "127.0.0.1:8085")
            .replace(BLUE_UNIT, &format!("run.process = {{ exe = \"{exe}\", port = 8085 }}"))
    });
    let text = read(&lab, "web1", FILE).replace("127.0.0.1:8080", "127.0.0.1:8085");
    write(&lab, "web1", FILE, &text);
    lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    let scene = rollback(&lab, &[]);
    scene.exits(1).says("it belongs to unit listings-green.service");
    answers(&lab, "http://127.0.0.1:8085/");
    scene.holds(unit(&lab, "web1", "listings-green") == "active", "the unit runs");
}

#[test]
fn a_green_that_takes_blues_place_before_the_stop_is_left_running() {
    let lab = Lab::up(&["web1"]);
    // As a unit, and as a process: what the stop would end is looked at in the same breath.
    let exe = "/usr/bin/python3";
    // Blue goes in a moment, and stays away: it must not be missed for so long that it is started again.
    drop_in(&lab, "web1", "listings-blue", "Restart=no");
    for as_unit in [true, false] {
        green_is_shared_server(&lab, "127.0.0.1:8081 +127.0.0.1:8080");
        answers(&lab, "http://127.0.0.1:8081/");
        let file = read(&lab, "web1", FILE);
        lab.config_with(|text| match as_unit {
            true => text,
            false => text.replace(GREEN_UNIT, &format!("run.process = {{ exe = \"{exe}\", port = 8081 }}")),
        });
        let ip = lab.ip("web1");
        let slow = std::thread::spawn(move || get(&ip, "/slow?ms=5000"));
        until("green has the request", || !lab.sh("web1", "ss -Htn state established '( sport = :8081 )'").is_empty());
        let mut running = begin(&lab, &[]);
        until("traffic has moved", || served_by(&lab, "web1") == "blue");
        // The plan saw two of them. Now green's own process takes blue's port over.
        lab.sh(
            "web1",
            "systemctl kill -s KILL listings-blue; while ss -Htln 'sport = :8080' | grep -q .; do :; done; pkill -USR1 -f shared.p[y]",
        );
        answers(&lab, "http://127.0.0.1:8080/");
        assert_eq!(running.exit(), 4, "{}", running.said());
        let said = running.said();
        assert!(said.contains("would end with it and serves port 8080"), "{said}");
        assert_eq!(unit(&lab, "web1", "listings-green"), "active", "{said}");
        assert_eq!(served_by(&lab, "web1"), "green", "the process of green answers for blue: {said}");
        assert!(slow.join().expect("curl ends").status == 200, "{said}");
        lab.sh("web1", "systemctl stop listings-green; systemctl reset-failed");
        lab.sh("web1", "systemctl start listings-blue");
        write(&lab, "web1", FILE, &file);
        lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    }
}

#[test]
fn a_probe_that_nginx_answers_by_itself_proves_nothing() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let file = read(&lab, "web1", FILE);
    let site = |own: &str| {
        write(&lab, "web1", FILE, &file.replace("    location / {", &format!("    {own}\n\n    location / {{")));
        lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    };
    let own = [
        ("301", "location = / { return 301 https://listings.example.com/home; }"),
        ("204", "location = / { return 204; }"),
        ("404", "location = / { root /nowhere; try_files /no =404; }"),
        (
            "401",
            "location = / { auth_basic \"no\"; auth_basic_user_file /dev/null; proxy_pass http://listings_backend; }",
        ),
    ];
    for (status, text) in own {
        site(text);
        until("nginx answers so", || get(&lab.ip("web1"), "/").status.to_string() == status);
        let scene = run(&lab, &["check"]);
        scene.exits(1).says(&format!("nginx answers the probe http://127.0.0.1/ by itself ({status})"));
        scene.says("/health does reach the application").says("probe = \"http://127.0.0.1/health\"");
    }
    // No path is named that nginx answers by itself too.
    site("location = / { return 301 https://x; } location = /health { return 204; }");
    until("nginx answers so", || get(&lab.ip("web1"), "/health").status == 204);
    let scene = run(&lab, &["check"]);
    scene.exits(1).says("by itself (301)").never_says("does reach");

    // It is no reason to leave traffic on a bad release: proven by the workers, and said.
    site("location = / { return 301 https://x; }");
    until("nginx answers so", || get(&lab.ip("web1"), "/health").status == 200);
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("nginx answers the probe by itself (301)");
    let got = get(&lab.ip("web1"), "/slow?ms=1");
    scene.holds(got.body == "blue\n", &format!("blue serves: {got:?}"));
    let status = run(&lab, &["status"]);
    status.says("from nobody we can tell");
}

#[test]
fn a_probe_over_https_asks_for_its_site_by_name() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        "for name in listings other; do
           openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=$name.example.com \
             -addext subjectAltName=DNS:$name.example.com -keyout /etc/nginx/$name.key -out /etc/nginx/$name.crt 2>&1
         done",
    );
    // Without the name in the handshake nobody gets further than this server.
    let rejecting = "server { listen 443 ssl default_server; ssl_reject_handshake on; }\n";
    let tls = "listen 443 ssl;\n    ssl_certificate /etc/nginx/listings.crt;\n    ssl_certificate_key /etc/nginx/listings.key;\n";
    let file =
        read(&lab, "web1", FILE).replace("listen 80 default_server;", &format!("listen 80 default_server;\n    {tls}"));
    write(&lab, "web1", FILE, &file);
    write(&lab, "web1", "/etc/nginx/conf.d/other.conf", rejecting);
    lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    let https = |place: &str| {
        lab.config_with(|text| text.replace("http://127.0.0.1/\"", &format!("https://{place}/\"")));
    };
    let site = "https://listings.example.com/";
    until("nginx answers over https", || {
        let words = ["curl", "-fsk", "-m", "2", "--resolve", "listings.example.com:443:127.0.0.1", site];
        lab.exec("web1", &words).status.success()
    });

    https("127.0.0.1");
    run(&lab, &["check"]).exits(0).says("certificate is not verified");
    run(&lab, &["status"]).says("answers 200, from green");

    // Where it leaves the host the name is verified, against what the host itself trusts.
    let ip = lab.ip("web1");
    https(&ip);
    for words in [&["check"][..], &["--reason", "x"]] {
        let scene = run(&lab, words);
        scene.exits(1).says("certificate is not trusted there for listings.example.com").says("self-signed");
        scene.holds(served_by(&lab, "web1") == "green", "nothing was changed");
    }
    lab.sh("web1", "cp /etc/nginx/listings.crt /usr/local/share/ca-certificates/ && update-ca-certificates 2>&1");
    // A handshake that takes long on a busy machine is not what this is about.
    until("it answers in time", || run(&lab, &["check"]).status.success());
    run(&lab, &["check"]).exits(0).never_says("not verified");

    // Nobody at all is a problem of its own.
    https("127.0.0.1:444");
    for words in [&["check"][..], &["--reason", "x"]] {
        run(&lab, words).exits(1).says("the probe https://127.0.0.1:444/ gets no answer").says("onnect");
    }

    // wget has no SNI for an address: nginx takes the first site's certificate, and the site by the header.
    https("127.0.0.1");
    let other = "server { listen 443 ssl default_server; ssl_certificate /etc/nginx/other.crt; \
                 ssl_certificate_key /etc/nginx/other.key; return 404; }\n";
    write(&lab, "web1", "/etc/nginx/conf.d/other.conf", other);
    lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx; mv /usr/bin/curl /usr/bin/curl.away");
    run(&lab, &["check"]).exits(0);
    lab.sh("web1", "mv /usr/bin/curl.away /usr/bin/curl");

    let scene = rollback(&lab, &[]);
    scene.exits(0);
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

/// Behind a certificate of its own, and only for who says so in the head.
const GUARDED: &str = r#"
server {
    listen 8443 ssl;
    ssl_certificate /etc/nginx/guarded.crt;
    ssl_certificate_key /etc/nginx/guarded.key;
    location / {
        if ($http_authorization != "Bearer opensesame") { return 401; }
        if ($host != "inner.example.com") { return 400; }
        proxy_pass http://127.0.0.1:8080;
    }
}
"#;

#[test]
fn a_health_is_asked_with_what_it_understands() {
    let lab = Lab::up(&["web1"]);
    let ip = lab.ip("web1");
    lab.sh(
        "web1",
        &format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=guarded -addext subjectAltName=IP:{ip} \
               -keyout /etc/nginx/guarded.key -out /etc/nginx/guarded.crt 2>&1"
        ),
    );
    write(&lab, "web1", "/etc/nginx/conf.d/guarded.conf", GUARDED);
    lab.sh("web1", "nginx -t 2>&1 && systemctl reload nginx");
    let url = format!("https://{ip}:8443/health");
    until("the guarded health answers", || lab.exec("web1", &["curl", "-sk", "-m", "2", &url]).status.success());
    std::fs::write(lab.folder().join(".env.deploy"), "BLUE_AUTH=\"Authorization: Bearer opensesame\"\n")
        .expect("write");
    let with = |with: &str| {
        lab.config_with(|text| {
            let health = "health = [\"http://127.0.0.1:8080/health\"]";
            assert!(text.contains(health));
            text.replace(health, &format!("health = [\"{url}\"]\n{with}"))
        });
    };
    let both = "headers = [\"$BLUE_AUTH\", \"Host: inner.example.com\"]";
    let ca = "ca = \"/etc/nginx/guarded.crt\"";
    let refused = |says: &str| {
        let scene = rollback(&lab, &[]);
        scene.exits(1).says(says).says("production: nothing was changed");
        scene.holds(served_by(&lab, "web1") == "green", "green serves");
    };
    with("");
    refused("self-signed certificate");
    with("health_with = { insecure = true }");
    refused(&format!("{url} answers 401"));
    with("health_with = { insecure = true, statuses = [401] }");
    run(&lab, &["check"]).exits(0);
    with(&format!("health_with = {{ {ca}, headers = [\"$BLUE_AUTH\"] }}"));
    refused(&format!("{url} answers 400"));
    with(&format!("health_with = {{ {ca}, {both} }}"));
    run(&lab, &["manual"]).exits(0).says("Authorization: …").never_says("opensesame");
    run(&lab, &["check"]).exits(0).says("blue is well");
    // wget is told the same.
    lab.sh("web1", "mv /usr/bin/curl /usr/bin/curl.away");
    run(&lab, &["check"]).exits(0).says("blue is well");
    with(&format!("health_with = {{ {both} }}"));
    run(&lab, &["check"]).exits(1);
    with(&format!("health_with = {{ insecure = true, {both} }}"));
    run(&lab, &["check"]).exits(0);
    lab.sh("web1", "mv /usr/bin/curl.away /usr/bin/curl");

    with(&format!("health_with = {{ {ca}, {both} }}"));
    let scene = rollback(&lab, &[]);
    scene.exits(0).never_says("opensesame");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
    let told = std::process::Command::new("grep")
        .args(["-rl", "opensesame", "incidents"])
        .current_dir(lab.folder())
        .output()
        .expect("start grep");
    scene.holds(told.stdout.is_empty(), &format!("a secret is in {}", String::from_utf8_lossy(&told.stdout)));

    with("health_with = { headers = [\"no head\"] }");
    rollback(&lab, &[]).exits(2).says("blue.health_with.headers[0]: is not a line of a head");
    with(&format!("health_with = {{ insecure = true, {ca} }}"));
    rollback(&lab, &[]).exits(2).says("it and ca exclude each other");
}

/// Takes what name servers are asked, and never answers.
const SILENT: &str = "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.54', 53))
time.sleep(3600)
";

#[test]
fn a_host_whose_name_servers_hang_is_asked_all_the_same() {
    let lab = Lab::up(&["web1"]);
    lab.config_with(|text| text);
    write(&lab, "web1", "/opt/silent.py", SILENT);
    lab.sh("web1", "systemd-run -q --unit silent python3 /opt/silent.py");
    until("it listens", || lab.sh("web1", "ss -Hlun 'sport = :53'").contains("127.0.0.54"));
    lab.sh(
        "web1",
        "echo 'Nothing is written here without leave' >/etc/banner
         echo 'Banner /etc/banner' >>/etc/ssh/sshd_config
         echo 'UseDNS no' >>/etc/ssh/sshd_config
         systemctl restart ssh
         echo \"$(sed \"/$(hostname)/d\" /etc/hosts)\" >/etc/hosts
         rm -f /etc/resolv.conf
         printf 'nameserver 127.0.0.54\\noptions timeout:2 attempts:1\\n' >/etc/resolv.conf",
    );
    run(&lab, &["check"]).exits(0).says("web1: sudo -l was waited for, ").says("time getent hosts");
    let scene = rollback(&lab, &[]);
    scene.exits(0).says("sudo -l was waited for").never_says("Nothing is written here");
    scene.holds(served_by(&lab, "web1") == "blue", "blue serves");
}

#[test]
fn a_blue_that_could_not_be_started_is_said_before_anything_is_changed() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let bin = "/opt/listings/bin/listings-blue";
    let service = |lines: &str| {
        drop_in(&lab, "web1", "listings-blue", lines);
        lab.sh("web1", "systemctl reset-failed; systemctl stop listings-blue");
    };
    let refused = |what: &str| {
        for words in [&["check"][..], &["--reason", "x", "--dry-run"], &["--reason", "x"]] {
            let scene = run(&lab, words);
            scene.exits(1).says("blue is down").says(what).says("hint: ssh web1");
            scene.holds(served_by(&lab, "web1") == "green", "green serves");
            scene.holds(unit(&lab, "web1", "listings-blue") == "inactive", "nobody tried to start it");
        }
    };
    service("");
    run(&lab, &["--reason", "x", "--dry-run"]).exits(0).says("blue is down");
    run(&lab, &["check"]).exits(0);
    lab.sh("web1", &format!("mv {bin} /opt/away"));
    refused(&format!("unit listings-blue.service cannot be started: its program {bin} is not there"));
    lab.sh("web1", &format!("mv /opt/away {bin}; chmod 644 {bin}"));
    refused(&format!("{bin} may be run by nobody"));
    lab.sh("web1", &format!("chmod 755 {bin}"));
    // What only root may look at is looked at by root, and what is optional is not asked for.
    lab.sh("web1", "mkdir -m 700 -p /root/env; touch /root/env/there");
    service("EnvironmentFile=-/nowhere/env\nEnvironmentFile=/root/env/there\nWorkingDirectory=-/nowhere");
    run(&lab, &["check"]).exits(0);
    // Debian's named names an rndc for its reload that another package brings; it starts without.
    service("ExecReload=/usr/sbin/rndc reload\nExecStop=/usr/sbin/rndc stop\nExecCondition=/bin/true");
    run(&lab, &["check"]).exits(0);
    // Debian's samba has one, and is skipped without a failure where it is not there.
    service("ExecCondition=/usr/share/samba/is-configured nmb");
    refused("its program /usr/share/samba/is-configured is not there");
    service("EnvironmentFile=/root/env/missing");
    refused("the file /root/env/missing is not there");
    service("WorkingDirectory=/opt/listings/gone");
    refused("its folder /opt/listings/gone is not there");
    service("User=nobody-knows");
    refused("there is no user nobody-knows");
    install(&lab, "web1", "/opt/listings/start.sh", "#!/usr/local/bin/node18\nx\n");
    service("ExecStart=\nExecStart=/opt/listings/start.sh");
    refused("the interpreter /usr/local/bin/node18 of /opt/listings/start.sh is not there");
    service("ExecStart=\nExecStart=/opt/listings/bin/listings-blue --port 8080\n[Unit]\nRequires=nowhere.service");
    refused("Unit nowhere.service not found");

    // The same of a process: what the line to start it names.
    service("");
    let process = |start: &str| {
        let run = format!("run.process = {{ exe = \"{bin}\", port = 8080, start = \"{start}\" }}");
        lab.config_with(|text| text.replace(BLUE_UNIT, &run));
    };
    process("cd /opt/listings && ./bin/listings-blue --port=8080");
    run(&lab, &["check"]).exits(0);
    process("cd /opt/listing && ./bin/listings-blue --port=8080");
    refused("its folder /opt/listing is not there");
    process("cd /opt/listings && exec ./bin/listings-bleu");
    refused("its program /opt/listings/bin/listings-bleu is not there");

    // A name that nothing has, while another unit runs that port.
    lab.sh("web1", "systemctl start listings-blue");
    answers(&lab, "http://127.0.0.1:8080/health");
    lab.config_with(|text| text.replace("listings-blue.service", "listing-blue.service"));
    for words in [&["check"][..], &["--reason", "x"]] {
        let scene = run(&lab, words);
        scene.exits(1).says("no unit listing-blue.service; listings-blue.service runs that port");
    }
    lab.sh("web1", "systemctl stop listings-blue");
    run(&lab, &["check"]).exits(1).says("no unit listing-blue.service there");
}

/// What the program asks while it starts blue, as the host's own shell answers it.
#[test]
fn a_unit_that_has_failed_says_so_with_its_last_words() {
    let lab = Lab::up(&["web1"]);
    let supervisor = || {
        let (name, parts) = rollback_prod::steps::scripts().find(|(name, _)| *name == "health").expect("health.sh");
        let program = Program {
            name,
            parts,
            arguments: vec![("sudo", "yes".into()), ("unit", "listings-blue.service".into())],
            cargo: Default::default(),
            limit: Duration::from_secs(10),
        };
        let nonce = Nonce::new();
        let output = lab.ssh("web1", &shell_text(&program, &nonce));
        given_up(&Answer { sections: sections(&output.stdout, &nonce), ..Answer::default() })
    };
    assert_eq!(supervisor(), None, "it runs");
    drop_in(
        &lab,
        "web1",
        "listings-blue",
        "Restart=no\nExecStart=\nExecStart=/bin/sh -c \"echo no such port >&2; exit 7\"",
    );
    lab.sh("web1", "systemctl restart listings-blue");
    until("it has failed", || unit(&lab, "web1", "listings-blue") == "failed");
    let said = supervisor().unwrap_or_default();
    assert!(said.starts_with("its unit failed: exit-code, status 7; it said: "), "{said}");
    assert!(said.contains("no such port"), "{said}");
}

#[test]
fn a_compose_service_that_could_not_be_started_is_said() {
    let lab = Lab::up(&["web1"]);
    lab.docker("web1");
    lab.sh("web1", "systemctl stop listings-blue; mkdir -p /srv/listings");
    let compose = |image: &str| {
        let text = format!(
            "version: \"3\"\nservices:\n  other:\n    image: nobody/needs:this\n  blue:\n    image: {image}\n    network_mode: host\n"
        );
        write(&lab, "web1", "/srv/listings/compose.yml", &text);
    };
    let config = |file: &str, service: &str| {
        let run =
            format!("run.compose = {{ file = \"/srv/listings/{file}\", project = \"shop\", service = \"{service}\" }}");
        lab.config_with(|text| text.replace(BLUE_UNIT, &run));
    };
    compose("listings:blue");
    config("compose.yml", "blue");
    run(&lab, &["check"]).exits(0);
    compose("listings:gone");
    run(&lab, &["check"]).exits(1).says("the image listings:gone is not there");
    config("compose.yml", "bleu");
    run(&lab, &["check"]).exits(1).says("there is no service bleu of /srv/listings/compose.yml");
    config("docker-compose.yml", "blue");
    let scene = run(&lab, &["--reason", "x"]);
    scene.exits(1).says("the file /srv/listings/docker-compose.yml is not there");
    scene.holds(served_by(&lab, "web1") == "green", "green serves");
}
