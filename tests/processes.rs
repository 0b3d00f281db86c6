//! Green is stopped the way it is run: as a unit, a process, a container. On real hosts with real supervisors; what
//! must survive is looked for as carefully as what must die.

#[path = "support/site.rs"]
mod site;
mod support;

use std::time::Duration;

use site::{answer, drop_in, roll, serves, until, verify_within};
use support::Scene;
use support::lab::Lab;

const GREEN_UNIT: &str = "run.systemd = \"listings-green.service\"";
const BLUE_UNIT: &str = "run.systemd = \"listings-blue.service\"";
const GREEN_PROCESS: &str = "run.process = { exe = \"/opt/listings/bin/listings-green\", port = 8081 }";

/// The config with green as a plain process.
fn process_config(lab: &Lab, more: &str) -> std::path::PathBuf {
    lab.config_with(|text| text.replace(GREEN_UNIT, &format!("{GREEN_PROCESS}\n{more}")))
}

/// Stops the unit and starts green the way people do by hand: in the background of an ssh session.
fn green_by_hand(lab: &Lab, host: &str) -> u32 {
    lab.sh(host, "systemctl stop listings-green");
    start_by_hand(lab, host, "cd /opt/listings && exec ./bin/listings-green --port=8081");
    pid_on(lab, host, 8081)
}

#[track_caller]
fn start_by_hand(lab: &Lab, host: &str, line: &str) {
    let output = lab.ssh(host, &format!("setsid sh -c '{line}' </dev/null >/dev/null 2>&1 &"));
    assert!(output.status.success(), "{output:?}");
}

/// The pid that listens on a port, once one does.
#[track_caller]
fn pid_on(lab: &Lab, host: &str, port: u16) -> u32 {
    let mut pid = None;
    until(&format!("something listens on {port}"), || {
        pid = lab
            .sh(host, &format!("ss -Hltnp '( sport = :{port} )'"))
            .split("pid=")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        pid.is_some()
    });
    pid.expect("it was found")
}

fn lives(lab: &Lab, host: &str, pid: u32) -> bool {
    // A zombie is dead, whoever has yet to notice.
    lab.exec(host, &["sh", "-c", &format!("grep -q '^State:.[^Z]' /proc/{pid}/status")]).status.success()
}

fn is_open(lab: &Lab, host: &str, port: u16) -> bool {
    !lab.sh(host, &format!("ss -Hltn '( sport = :{port} )'")).is_empty()
}

#[test]
fn a_green_unit_that_always_restarts_is_stopped_and_stays_stopped() {
    let lab = Lab::up(&["web1"]);
    drop_in(&lab, "web1", "listings-green", "Restart=always\nRestartSec=50ms");
    // It does come back when it is only killed: the reason that the unit is stopped and not its process.
    let before = pid_on(&lab, "web1", 8081);
    lab.sh("web1", &format!("kill {before}"));
    until("systemd starts it again", || is_open(&lab, "web1", 8081) && pid_on(&lab, "web1", 8081) != before);

    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let state = lab.sh("web1", "systemctl show -p ActiveState -p SubState listings-green");
    scene.holds(state == "ActiveState=inactive\nSubState=dead", &state);
    scene.holds(!is_open(&lab, "web1", 8081), "its port is closed");
}

#[test]
fn a_stubborn_green_unit_is_killed_after_the_stop_timeout_and_not_after_systemds_own() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "touch /opt/listings/green.stubborn");
    let config = lab.config_with(|text| text.replace(GREEN_UNIT, &format!("{GREEN_UNIT}\nstop_timeout = \"2s\"")));
    let scene = roll(&lab, &config);
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    scene.holds(!is_open(&lab, "web1", 8081), "its port is closed");
    scene.holds(scene.took >= Duration::from_secs(2), "it got its two seconds");
    scene.holds(scene.took < Duration::from_secs(30), "and not the 90 that systemd would give it");
    let log = lab.sh("web1", "cat /opt/listings/logs/green.log");
    scene.holds(log.contains("SIGTERM ignored"), "it was asked politely first");
}

#[test]
fn a_green_unit_in_a_restart_loop_is_stopped_too() {
    let lab = Lab::up(&["web1"]);
    drop_in(
        &lab,
        "web1",
        "listings-green",
        "ExecStart=\nExecStart=/bin/false\nRestart=always\nRestartSec=1\n[Unit]\nStartLimitIntervalSec=0",
    );
    lab.sh("web1", "systemctl restart listings-green");
    until("it waits for its restart", || {
        lab.sh("web1", "systemctl show -p SubState --value listings-green") == "auto-restart"
    });
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let state = lab.sh("web1", "systemctl show -p ActiveState --value listings-green");
    scene.holds(state == "inactive" || state == "failed", &state);
}

#[test]
fn a_green_that_is_stopped_already_is_no_trouble() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl stop listings-green");
    let scene = roll(&lab, &lab.config(""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);

    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
}

#[test]
fn a_green_process_is_found_by_its_port_and_nothing_beside_it_is_touched() {
    let lab = Lab::up(&["web1"]);
    let green = green_by_hand(&lab, "web1");
    // Both hold the words that a `pkill -f` would look for.
    start_by_hand(&lab, "web1", "exec tail -f /opt/listings/logs/green.log listings-green");
    start_by_hand(&lab, "web1", "sleep 1000 # listings-green\ntrue");
    let of = |pattern: &str| lab.sh("web1", &format!("pgrep -o -f -- '{pattern}' || true")).parse::<u32>().ok();
    until("both run", || of("^tail -f /opt/l").is_some() && of("^sh -c sleep 1000").is_some());
    let tail = of("^tail -f /opt/l").expect("it runs");
    let shell = of("^sh -c sleep 1000").expect("it runs");

    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(0).says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    scene.holds(!lives(&lab, "web1", green), "green is gone");
    scene.holds(lives(&lab, "web1", tail), "somebody's tail -f is not");
    scene.holds(lives(&lab, "web1", shell), "somebody's shell is not");
    let log = lab.sh("web1", "tail -n 1 /opt/listings/logs/green.log");
    scene.holds(log.contains("green stopped"), &format!("green ended by itself, on SIGTERM: {log}"));
}

#[test]
fn why_no_pkill_it_kills_the_shell_that_runs_it_and_whoever_reads_the_log() {
    let lab = Lab::up(&["web1"]);
    start_by_hand(&lab, "web1", "exec tail -f /opt/listings/logs/green.log listings-green");
    let tail = || lab.sh("web1", "pgrep -f '^tail -f /opt/l' || true");
    until("the tail runs", || !tail().is_empty());
    let output = lab.ssh("web1", "pkill -f listings-green || true");
    assert_eq!(output.status.code(), Some(255), "the same as a lost line: {output:?}");
    until("the tail is gone", || tail().is_empty());
}

#[test]
fn a_stubborn_green_process_is_killed_after_its_time() {
    let lab = Lab::up(&["web1"]);
    let green = green_by_hand(&lab, "web1");
    lab.sh("web1", "touch /opt/listings/green.stubborn");
    let scene = roll(&lab, &process_config(&lab, "stop_timeout = \"2s\""));
    scene.exits(0).says("green stopped");
    scene.holds(!lives(&lab, "web1", green), "green is gone");
    scene.holds(scene.took >= Duration::from_secs(2), "it got its two seconds");
    let log = lab.sh("web1", "cat /opt/listings/logs/green.log");
    scene.holds(log.contains("SIGTERM ignored"), "it was asked politely first");
}

#[test]
fn a_green_that_a_loop_starts_again_is_named_with_its_parent() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl stop listings-green");
    start_by_hand(&lab, "web1", "while :; do /opt/listings/bin/listings-green --port 8081; done");
    let first = pid_on(&lab, "web1", 8081);
    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(4).says("green was stopped and is there again").says("while :; do").says("STILL RUNNING");
    serves(&lab, "web1", "blue", &scene);
    scene.holds(pid_on(&lab, "web1", 8081) != first, "it really is another one");
}

#[test]
fn another_program_on_greens_port_is_never_killed() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl stop listings-green");
    start_by_hand(&lab, "web1", "exec python3 -m http.server 8081");
    let stranger = pid_on(&lab, "web1", 8081);

    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(4).says(&format!("pid {stranger} on its port is /usr/bin/python3"));
    serves(&lab, "web1", "blue", &scene);
    scene.holds(lives(&lab, "web1", stranger), "it lives");

    // As a unit it is not ours either: the unit is stopped, whoever else holds its port is named.
    let scene = roll(&lab, &lab.config(""));
    scene.exits(4).says(&format!("pid {stranger}")).says("/usr/bin/python3");
    scene.holds(lives(&lab, "web1", stranger), "it still lives");
}

#[test]
fn a_program_that_takes_greens_port_while_green_drains_is_never_killed() {
    let lab = Lab::up(&["web1"]);
    let green = green_by_hand(&lab, "web1");
    let config = process_config(&lab, "");
    // A request in flight keeps the drain open until green dies.
    let mut slow = std::process::Command::new("curl")
        .args(["-s", "-m", "60", "-H", "Host: listings.example.com"])
        .arg(format!("http://{}/slow?ms=60000", lab.ip("web1")))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("start curl");
    until("green has the request", || !lab.sh("web1", "ss -Htn state established '( sport = :8081 )'").is_empty());
    std::thread::scope(|scope| {
        let run = scope.spawn(|| roll(&lab, &config));
        until("traffic has moved", || answer(&lab, "web1") == "blue");
        lab.sh("web1", &format!("kill -KILL {green}"));
        until("its port is free", || !is_open(&lab, "web1", 8081));
        start_by_hand(&lab, "web1", "exec python3 -m http.server 8081");
        let stranger = pid_on(&lab, "web1", 8081);
        let scene = run.join().expect("the run is not what panics");
        scene.exits(4).says(&format!("pid {stranger}")).says("/usr/bin/python3");
        scene.holds(lives(&lab, "web1", stranger), "it lives");
        serves(&lab, "web1", "blue", &scene);
    });
    let _ = slow.kill();
    let _ = slow.wait();
}

#[test]
fn a_green_process_of_another_user_is_found_and_stopped_through_sudo() {
    let lab = Lab::up(&["web1"]);
    // As root, and not a unit: nobody but root may look at its open files or at its program.
    lab.sh("web1", "systemctl stop listings-green; cd /opt/listings; setsid ./bin/listings-green --port=8081 </dev/null >/dev/null 2>&1 &");
    let green = pid_on(&lab, "web1", 8081);
    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(0).says("green stopped");
    scene.holds(!lives(&lab, "web1", green), "green is gone");
    serves(&lab, "web1", "blue", &scene);
}

#[test]
fn another_users_program_on_greens_port_is_never_killed_through_sudo() {
    let lab = Lab::up(&["web1"]);
    lab.sh(
        "web1",
        "systemctl stop listings-green; cd /tmp; setsid python3 -m http.server 8081 </dev/null >/dev/null 2>&1 &",
    );
    let stranger = pid_on(&lab, "web1", 8081);
    let scene = roll(&lab, &process_config(&lab, ""));
    scene.exits(4).says(&format!("pid {stranger} on its port is /usr/bin/python3"));
    scene.holds(lives(&lab, "web1", stranger), "it lives");
    serves(&lab, "web1", "blue", &scene);
}

/// A server of a few lines, as an application in Python is; `gunicorn` runs it too.
const SCRIPT: &str = r#"#!/usr/bin/env python3
def app(environ, start_response):
    start_response("200 OK", [("X-Instance", "green")])
    return [b"green\n"]
if __name__ == "__main__":
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", 8081, app).serve_forever()
"#;

const NODE: &str = "require('http').createServer((request, response) => {
  response.setHeader('X-Instance', 'green');
  response.end('green\\n');
}).listen(8081, '127.0.0.1');
";

const RUBY: &str = "require 'socket'
server = TCPServer.new('127.0.0.1', 8081)
loop do
  client = server.accept
  while (line = client.gets) && line != \"\\r\\n\" do end
  client.write \"HTTP/1.1 200 OK\\r\\nX-Instance: green\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\ngreen\\n\"
  client.close
end
";

const PHP: &str = "<?php header('X-Instance: green'); echo \"green\\n\";
";

#[test]
fn a_green_that_an_interpreter_runs_is_known_by_its_script() {
    let lab = Lab::up(&["web1"]);
    site::install(&lab, "web1", "/opt/listings/green.py", SCRIPT);
    lab.sh("web1", "chown deploy /opt/listings/green.py; ln -s /opt/listings/green.py /opt/listings/other.py");
    let starts = [
        // As the kernel starts it, as people do, and from its own folder.
        "/opt/listings/green.py",
        "python3 -u /opt/listings/green.py",
        "cd /opt/listings && exec python3 ./green.py",
        // A server that forks: its workers listen too, and end with it.
        "cd /opt/listings && exec gunicorn -w 3 -b 127.0.0.1:8081 green:app",
    ];
    for start in starts {
        let exe = if start.contains("gunicorn") { "/usr/bin/gunicorn" } else { "/opt/listings/green.py" };
        let process = format!("run.process = {{ exe = \"{exe}\", port = 8081, start = \"{start}\" }}");
        let config = lab.config_with(|text| text.replace(GREEN_UNIT, &process));
        lab.sh("web1", "systemctl stop listings-green");
        start_by_hand(&lab, "web1", start);
        pid_on(&lab, "web1", 8081);
        let scene = roll(&lab, &config);
        scene.exits(0);
        serves(&lab, "web1", "blue", &scene);
        scene.holds(!is_open(&lab, "web1", 8081), &format!("{start}: green is stopped"));
        scene.holds(lab.sh("web1", "pgrep -f 'green[.]py|green[:]app' || true").is_empty(), "with all of its workers");
        let undo = site::run(&lab, &["undo"]);
        undo.exits(0);
        serves(&lab, "web1", "green", &undo);
        roll(&lab, &config).exits(0);
        site::back_to_green(&lab, "web1", &site::kept(&lab, "web1.nginx.before.conf"));
    }
    // And what people write otherwise.
    for (name, interpreter, text) in [
        ("green.js", "node", NODE),
        ("green.rb", "ruby", RUBY),
        // PHP's own server names its script behind the address.
        ("green.php", "php -d display_errors=0 -S 127.0.0.1:8081", PHP),
    ] {
        let script = format!("/opt/listings/{name}");
        site::install(&lab, "web1", &script, text);
        let start = format!("{interpreter} {script}");
        let process = format!("run.process = {{ exe = \"{script}\", port = 8081, start = \"{start}\" }}");
        let config = lab.config_with(|text| text.replace(GREEN_UNIT, &process));
        lab.sh("web1", "systemctl stop listings-green");
        start_by_hand(&lab, "web1", &start);
        pid_on(&lab, "web1", 8081);
        let scene = roll(&lab, &config);
        scene.exits(0);
        serves(&lab, "web1", "blue", &scene);
        scene.holds(!is_open(&lab, "web1", 8081), &format!("{start}: green is stopped"));
        let undo = site::run(&lab, &["undo"]);
        undo.exits(0);
        serves(&lab, "web1", "green", &undo);
        roll(&lab, &config).exits(0);
        site::back_to_green(&lab, "web1", &site::kept(&lab, "web1.nginx.before.conf"));
    }
    // Another script of the same interpreter is another program.
    lab.sh("web1", "systemctl stop listings-green");
    start_by_hand(&lab, "web1", "python3 /opt/listings/other.py");
    pid_on(&lab, "web1", 8081);
    let process = "run.process = { exe = \"/opt/listings/green.py\", port = 8081 }";
    let scene = roll(&lab, &lab.config_with(|text| text.replace(GREEN_UNIT, process)));
    scene.exits(4).says("on its port is /usr/bin/python3").says("not /opt/listings/green.py");
    scene.holds(is_open(&lab, "web1", 8081), "and is not touched");
}

/// supervisord with both colours, each a plain process to everybody else.
const SUPERVISED: &str = r#"
systemctl disable --now listings-blue listings-green 2>/dev/null
cat >/opt/listings/supervisord.conf <<'CONF'
[supervisord]
logfile=/opt/listings/supervisord.log
pidfile=/opt/listings/supervisord.pid
[unix_http_server]
file=/opt/listings/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///opt/listings/supervisor.sock
[program:blue]
command=/opt/listings/bin/listings-blue --port 8080
autostart=false
[program:green]
command=/opt/listings/bin/listings-green --port 8081 --log /opt/listings/logs/green.log
autorestart=true
CONF
runuser -u deploy -- supervisord -c /opt/listings/supervisord.conf"#;

/// The same below runsvdir, whose runsv start again what ends.
const BELOW_RUNIT: &str = r#"
systemctl disable --now listings-blue listings-green 2>/dev/null
for pair in blue:8080 green:8081; do
  mkdir -p /opt/listings/service/${pair%:*}
  printf '#!/bin/sh\nexec /opt/listings/bin/listings-%s --port %s\n' ${pair%:*} ${pair#*:} >/opt/listings/service/${pair%:*}/run
  chmod 755 /opt/listings/service/${pair%:*}/run
done
touch /opt/listings/service/blue/down
chown -R deploy /opt/listings/service
runuser -u deploy -- setsid runsvdir /opt/listings/service >/dev/null 2>&1 </dev/null &"#;

fn below_runit(colour: &str) -> String {
    let service = format!("/opt/listings/service/{colour}");
    format!(
        "run.command = {{ start = [\"sv\", \"start\", \"{service}\"], stop = [\"sv\", \"stop\", \"{service}\"], \
         status = [\"sh\", \"-c\", \"sv status {service} | grep -q ^run:\"] }}"
    )
}

/// Both colours run below a keeper of processes; `run` is what the config says of one. The config that it ends with.
#[track_caller]
fn is_stopped_through_its_keeper(lab: &Lab, keeper: &str, run: fn(&str) -> String, stop: &str) -> std::path::PathBuf {
    let green = pid_on(lab, "web1", 8081);
    // As a plain process it would be there again in a second: who starts it is named, and what to say instead.
    let blue = run("blue");
    let config = lab.config_with(|text| text.replace(GREEN_UNIT, GREEN_PROCESS).replace(BLUE_UNIT, &blue));
    let before = site::read(lab, "web1", site::FILE);
    let scene = roll(lab, &config);
    scene.exits(4).says(&format!("is kept running by {keeper} (pid ")).says("[green] run.command");
    serves(lab, "web1", "blue", &scene);
    scene.holds(lives(lab, "web1", green), "it is left alone");
    site::run(lab, &["undo"]).exits(0);
    assert_eq!(site::read(lab, "web1", site::FILE), before);

    let config = lab.config_with(|text| text.replace(GREEN_UNIT, &run("green")).replace(BLUE_UNIT, &blue));
    site::run(lab, &["check"]).exits(0);
    let scene = roll(lab, &config);
    scene.exits(0).says("green stopped").says(stop);
    serves(lab, "web1", "blue", &scene);
    scene.holds(!is_open(lab, "web1", 8081), "it stays away");
    let undo = site::run(lab, &["undo"]);
    undo.exits(0);
    serves(lab, "web1", "green", &undo);
    config
}

#[test]
fn what_runit_keeps_is_stopped_through_it_and_never_beside_it() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", BELOW_RUNIT);
    is_stopped_through_its_keeper(&lab, "runsv", below_runit, "sv stop /opt/listings/service/green");
}

fn supervised(colour: &str) -> String {
    let word =
        |verb| format!("[\"supervisorctl\", \"-c\", \"/opt/listings/supervisord.conf\", \"{verb}\", \"{colour}\"]");
    format!("run.command = {{ start = {}, stop = {}, status = {} }}", word("start"), word("stop"), word("status"))
}

#[test]
fn what_a_supervisor_keeps_is_stopped_through_it_and_never_beside_it() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", SUPERVISED);
    let stop = "supervisorctl -c /opt/listings/supervisord.conf stop green";
    let config = is_stopped_through_its_keeper(&lab, "supervisord", supervised, stop);

    // A supervisor that does not answer is not one that says no.
    lab.sh(
        "web1",
        "kill $(cat /opt/listings/supervisord.pid); while [ -e /opt/listings/supervisor.sock ]; do sleep 0.1; done",
    );
    let scene = roll(&lab, &config);
    scene.exits(1).says("blue cannot be judged: `supervisorctl").says("cannot say, it ends with 4");
}

#[test]
fn what_a_command_starts_outlives_the_line_and_a_command_that_hangs_holds_up_nothing() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl disable --now listings-blue 2>/dev/null");
    // Its application is its own child, and has what it was given as its output; sudo is not ours to end.
    let blue = "run.command = { start = [\"sh\", \"-c\", \"/opt/listings/bin/listings-blue --port 8080 & sleep 0.3\"], \
                stop = [\"pkill\", \"-f\", \"listings-blue --port\"], status = [\"pgrep\", \"-f\", \"listings-blue --port\"] }";
    let hangs = "[\"sudo\", \"-n\", \"sleep\", \"60\"]";
    let green = format!("run.command = {{ start = {hangs}, stop = {hangs}, status = {hangs} }}\nstop_timeout = \"2s\"");
    let config = lab.config_with(|text| text.replace(BLUE_UNIT, blue).replace(GREEN_UNIT, &green));
    let scene = roll(&lab, &config);
    scene.exits(4).says("green could not be stopped").says("its command ended with 124");
    scene.holds(scene.took < Duration::from_secs(40), &format!("nothing is waited for: {:?}", scene.took));
    serves(&lab, "web1", "blue", &scene);
    let pid = pid_on(&lab, "web1", 8080);
    let open =
        lab.sh("web1", &format!("cd /proc/{pid}/fd && readlink 0 1 2 3 4 | grep -E 'pipe|socket' | head -n 3; ls -l"));
    scene.holds(!lab.sh("web1", &format!("readlink /proc/{pid}/fd/1 /proc/{pid}/fd/2")).contains("pipe"), &open);
    lab.sh("web1", "curl -s -o /dev/null http://127.0.0.1:8080/health; sleep 0.5");
    scene.holds(lives(&lab, "web1", pid), "it lives on");
    serves(&lab, "web1", "blue", &scene);
}

#[test]
fn blue_as_a_process_outlives_the_line_and_the_program_that_started_it() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl stop listings-blue");
    let blue = "run.process = { exe = \"/opt/listings/bin/listings-blue\", port = 8080, \
                start = \"cd /opt/listings && exec ./bin/listings-blue --port=8080\" }";
    let config = lab.config_with(|text| text.replace(BLUE_UNIT, blue));
    let scene = roll(&lab, &config);
    scene.exits(0).says("blue started and proven");
    let pid = pid_on(&lab, "web1", 8080);
    until("no session of ours is left on the host", || {
        lab.sh("web1", "ss -Htn state established '( sport = :22 )'").is_empty()
    });
    scene.holds(lives(&lab, "web1", pid), "blue lives");
    serves(&lab, "web1", "blue", &scene);
    let session = lab.sh("web1", &format!("ps -o sid= -p {pid}"));
    scene.holds(session.parse() == Ok(pid), &format!("it leads a session of its own: {session}"));
}

#[test]
fn blue_that_cannot_be_started_leaves_green_serving() {
    let lab = Lab::up(&["web1"]);
    lab.sh("web1", "systemctl stop listings-blue; chmod 0 /opt/listings/bin/listings-blue");
    let config = lab.config_with(|text| verify_within(&text, "2s"));
    let scene = roll(&lab, &config);
    scene.exits(1).says("blue");
    scene.holds(answer(&lab, "web1") == "green", "green serves");
}

/// A docker engine on web1, blue made and not started, green running as `green` says.
fn docker_lab(blue: &str, green: &str) -> Lab {
    let lab = Lab::up(&["web1+docker"]);
    lab.docker("web1");
    lab.sh("web1", "systemctl stop listings-blue listings-green");
    lab.sh("web1", blue);
    lab.sh("web1", green);
    until("green serves", || answer(&lab, "web1") == "green");
    lab
}

/// The config with both colours run as `blue` and `green` say, and without the names of their logs.
fn docker_config(lab: &Lab, blue: &str, green: &str) -> std::path::PathBuf {
    lab.config_with(|text| {
        text.replace(BLUE_UNIT, blue)
            .replace(GREEN_UNIT, green)
            .replace("log = \"/opt/listings/logs/blue.log\"\n", "")
            .replace("log = \"/opt/listings/logs/green.log\"\n", "")
    })
}

/// Green's archived log, unpacked.
#[track_caller]
fn archived(lab: &Lab, scene: &Scene) -> String {
    let pattern = lab.folder().join("incidents/rollback-*/green-rollback-web1-*.log.gz");
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("gzip -dc {}", pattern.display())])
        .output()
        .expect("start sh");
    scene.holds(output.status.success(), "green's log was archived whole");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_green_container_that_always_restarts_is_stopped_and_blues_is_started() {
    let lab = docker_lab(
        "docker create --name listings_blue --network host listings:blue",
        "docker run -d --name listings_green --network host --restart always listings:green",
    );
    let config =
        docker_config(&lab, "run.docker = \"listings_blue\"", "run.docker = \"listings_green\"\nstop_timeout = \"5s\"");
    let scene = roll(&lab, &config);
    scene.exits(0).says("blue started and proven").says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let state =
        lab.sh("web1", "docker inspect -f '{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}' listings_green");
    scene.holds(state == "false always", &state);
    scene.holds(!is_open(&lab, "web1", 8081), "its port is closed");
    let log = archived(&lab, &scene);
    scene.holds(log.contains("listings green listens on"), &format!("docker's own log was archived: {log}"));

    // And again, from blue: nothing is left to do.
    roll(&lab, &config).exits(0);
}

#[test]
fn a_container_with_a_published_port_is_known_as_its_listener() {
    // The port belongs to docker's proxy, which runs as root and outside of the container.
    let lab = docker_lab(
        "docker run -d --name listings_blue -p 127.0.0.1:8080:8080 listings:blue",
        "docker run -d --name listings_green -p 127.0.0.1:8081:8081 --restart unless-stopped listings:green",
    );
    let config = docker_config(&lab, "run.docker = \"listings_blue\"", "run.docker = \"listings_green\"");
    let scene = roll(&lab, &config);
    scene.exits(0).says("green stopped").never_says("STILL RUNNING");
    serves(&lab, "web1", "blue", &scene);
    scene.holds(!is_open(&lab, "web1", 8081), "its port is closed");
}

#[test]
fn a_container_that_the_config_misnames_is_refused_before_anything_is_changed() {
    let lab =
        docker_lab("docker create --name listings_blue --network host listings:blue", "systemctl start listings-green");
    let config = docker_config(&lab, "run.docker = \"listings_bleu\"", GREEN_UNIT);
    let scene = roll(&lab, &config);
    scene.exits(1).says("listings_bleu");
    scene.holds(answer(&lab, "web1") == "green", "green serves");
}

/// A real engine under a real compose: Debian 12 has docker-compose 1.29 and no `docker compose`, so the lab gives
/// docker a plugin of that name which hands its words to it. See `scripts/lab`.
#[test]
fn compose_services_are_started_and_stopped_in_their_own_project() {
    let lab = Lab::up(&["web1+docker"]);
    lab.docker("web1");
    lab.sh("web1", "systemctl stop listings-blue listings-green; mkdir -p /srv/listings");
    lab.sh(
        "web1",
        r#"cat >/srv/listings/compose.yml <<'YML'
version: "3"
services:
  blue:
    image: listings:blue
    network_mode: host
  green:
    image: listings:green
    network_mode: host
    restart: always
  other:
    image: listings:latest
    network_mode: host
    command: ["--colour", "other", "--port", "8099"]
YML
        cd /srv/listings && docker compose -p shop -f compose.yml up -d green other 2>&1"#,
    );
    until("green serves", || answer(&lab, "web1") == "green");
    let run = |service: &str| {
        format!("run.compose = {{ file = \"/srv/listings/compose.yml\", project = \"shop\", service = \"{service}\" }}")
    };
    let scene = roll(&lab, &docker_config(&lab, &run("blue"), &run("green")));
    scene.exits(0).says("blue started and proven").says("green stopped");
    serves(&lab, "web1", "blue", &scene);
    let running =
        lab.sh("web1", "docker ps --format '{{.Label \"com.docker.compose.service\"}}' | sort | tr '\\n' ' '");
    scene.holds(running == "blue other", &format!("and nothing else was touched: {running}"));
    scene.holds(!is_open(&lab, "web1", 8081), "green's port is closed");
    let log = archived(&lab, &scene);
    scene.holds(log.contains("listings green listens on"), &format!("docker's own log was archived: {log}"));

    // Blue by another tag: what its .env says, what is on the host, and the container that is made of it.
    site::run(&lab, &["undo"]).exits(0);
    lab.sh(
        "web1",
        r#"cd /srv/listings && for version in 1.3.2 1.4.0; do
          docker commit --change "LABEL org.opencontainers.image.version=$version" $(docker create listings:blue) shop/listings:$version
        done >/dev/null
        sed -i 's,image: listings:blue,image: shop/listings:${BLUE_TAG},' compose.yml
        printf 'PASSWORD=hunter2hunter2\nBLUE_TAG=1.4.0\n' >.env && chmod 600 .env && chown deploy .env
        docker compose -p shop -f compose.yml up -d blue 2>&1"#,
    );
    let page = include_str!("../docs/releases.md");
    let earlier =
        page.lines().map(str::trim).find(|line| line.starts_with("earlier = { image")).expect("the page has it");
    let config = docker_config(&lab, &format!("{}\n{earlier}", run("blue")), &run("green"));
    let image = || lab.sh("web1", "docker ps --format '{{.Image}}' | grep shop/");
    assert_eq!(image(), "shop/listings:1.4.0");
    let path = config.display().to_string();
    let scene = site::run(&lab, &["releases", "--config", &path]);
    scene.exits(0).says("now  1.4.0").says("     1.3.2");
    let mut command = site::command(&lab, &config);
    let scene = Scene::of(command.args(["--to", "1.2"]), lab.folder());
    scene.exits(1).says("there is no 1.2; there is ");
    let mut command = site::command(&lab, &config);
    let scene = Scene::of(command.args(["--to", "1.3.2"]), lab.folder());
    scene
        .exits(0)
        .says("blue 1.3.2 (it runs 1.4.0 now)")
        .says("set BLUE_TAG=1.3.2 in /srv/listings/.env")
        .never_says("hunter2");
    serves(&lab, "web1", "blue", &scene);
    assert_eq!(image(), "shop/listings:1.3.2");
    assert_eq!(
        lab.sh("web1", "cat /srv/listings/.env; stat -c '%U %a' /srv/listings/.env"),
        "PASSWORD=hunter2hunter2\nBLUE_TAG=1.3.2\ndeploy 600"
    );
    site::run(&lab, &["undo", "--config", &path]).exits(0);
    assert_eq!(image(), "shop/listings:1.4.0");
    assert_eq!(lab.sh("web1", "cat /srv/listings/.env"), "PASSWORD=hunter2hunter2\nBLUE_TAG=1.4.0");
    // Down, it is made of the other image, and not started as it was made.
    lab.sh("web1", "cd /srv/listings && docker compose -p shop -f compose.yml stop blue 2>&1");
    let mut command = site::command(&lab, &config);
    Scene::of(command.args(["--to", "1.3.2"]), lab.folder()).exits(0);
    assert_eq!(image(), "shop/listings:1.3.2");
}
