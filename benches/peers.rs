//! Beside what people would pick instead: the same switch with the same checks on N real hosts at once, by this program,
//! by plain ssh, and by the tools that people have. `cargo bench --bench peers` (as root; it boots up to 128 hosts,
//! installs the peers from their own packages, and takes about 40 minutes); `cargo bench --bench peers -- 1 8 Fabric` runs
//! those numbers of hosts and tools of such a name only.
//!
//! All tools run in turn in each round; printed are medians of whole commands, and for this program the moment at which
//! traffic was safe on all hosts. It measures and prints; it never judges.

#[path = "../tests/support/site.rs"]
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use site::{FILE, program, served_by};
use support::end_of;
use support::lab::{Lab, Load};

const NUMBERS: [usize; 5] = [1, 8, 32, 64, 128];

/// What every other tool runs on every host: the runbook as it would work, with the checks that this program makes. What
/// sudo allows, that the file is loaded and blue is well, who serves, a lock, the candidate tested without being put in
/// place, a file that is written beside, synced and moved, the workers and nginx's own log compared, three answers of blue
/// in a row. It puts nothing back, records nothing, and its end is the only thing that is known of it.
const SWITCH: &str = "set -e; f=/etc/nginx/sites-available/listings; d=/etc/nginx/sites-available/.listings; \
    l=/run/lock/listings.switch; c=/tmp/listings.candidate; sudo -n -l >/dev/null; \
    sudo -n nginx -T 2>/dev/null | grep -q \"^# configuration file .*/listings:\"; systemctl is-active -q listings-blue; \
    for n in 1 2 3; do curl -fsS -o /dev/null http://127.0.0.1:8080/health; done; \
    test \"$(curl -s http://127.0.0.1/)\" = green; mkdir $l; trap \"rmdir $l\" EXIT; \
    sed -e 's/8080 down/8080 weight=100/' -e 's/8081 weight=100/8081 down/' $f >$c; \
    sudo -n unshare -m sh -c \"mount --bind $c $f && nginx -t\" 2>/dev/null; \
    p=$(cat /run/nginx.pid); w=$(pgrep -P $p | sort); \
    e=$(sudo -n grep -F -c '[emerg]' /var/log/nginx/error.log || true); \
    sudo -n cp -a $f $d.before; sudo -n cp -a $f $d.new; sudo -n tee $d.new <$c >/dev/null; sudo -n sync $d.new; \
    sudo -n mv $d.new $f; sudo -n nginx -t 2>/dev/null; sudo -n systemctl reload nginx; \
    sudo -n sync /etc/nginx/sites-available; n=0; \
    until [ $n = 3 ]; do if [ \"$(curl -s -m 2 http://127.0.0.1/)\" = blue ]; then n=$((n+1)); else n=0; fi; done; \
    test \"$(pgrep -P $p | sort)\" != \"$w\"; \
    test \"$(sudo -n grep -F -c '[emerg]' /var/log/nginx/error.log || true)\" = \"$e\"; sudo -n rm -f $d.before $c";

/// The least that switches: nothing is looked at before, locked, tested apart, kept or synced.
const BARE_SWITCH: &str = "set -e; f=/etc/nginx/sites-available/listings; \
    sed -e 's/8080 down/8080 weight=100/' -e 's/8081 weight=100/8081 down/' $f | sudo -n tee $f.new >/dev/null; \
    sudo -n mv $f.new $f; sudo -n nginx -t 2>/dev/null; sudo -n systemctl reload nginx; \
    until [ \"$(curl -s -m 2 http://127.0.0.1/)\" = blue ]; do :; done";

fn main() {
    let chosen: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let only: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-') && word.parse::<usize>().is_err()).collect();
    let numbers: Vec<usize> =
        NUMBERS.into_iter().filter(|number| chosen.is_empty() || chosen.contains(number)).collect();
    let most = numbers.iter().copied().max().unwrap_or(1);
    let names: Vec<String> = (1..=most).map(|number| format!("h{number}")).collect();
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let lab = Lab::measured(&words);
    let original = lab.config("");
    let config = std::fs::read_to_string(&original).expect("the config");
    let peers = Peers::install(lab.folder(), &lab.ssh_config());
    let green = site::read(&lab, "h1", FILE);
    println!("| tool |{}", numbers.iter().map(|number| format!(" {number} |")).collect::<String>());
    println!("| --- |{}", " --- |".repeat(numbers.len()));
    let mut rows: Vec<(String, Vec<Option<Duration>>)> = Vec::new();
    for (column, number) in numbers.iter().enumerate() {
        let hosts = &words[..*number];
        // Many hosts are their own repetition.
        let rounds = if *number > 8 { 3 } else { 5 };
        let mut taken: Vec<(String, Vec<Duration>)> = Vec::new();
        for _ in 0..rounds {
            for tool in TOOLS.iter().filter(|tool| only.is_empty() || only.iter().any(|word| tool.name.contains(word)))
            {
                // Half a minute for each is plenty of patience; the slow ones are known from fewer hosts.
                if *number > tool.most {
                    continue;
                }
                to_green(&lab, hosts, &green);
                let took = (tool.run)(&lab, &peers, hosts, &config);
                // Three answers in a row are no proof for 0.1 s after a reload, while nginx's old workers still accept.
                for host in hosts {
                    site::until(&format!("{}: blue serves on {host}", tool.name), || served_by(&lab, host) == "blue");
                }
                for (what, took) in took {
                    let name = format!("{}{what}", tool.name);
                    match taken.iter_mut().find(|(of, _)| *of == name) {
                        Some((_, all)) => all.push(took),
                        None => taken.push((name, vec![took])),
                    }
                }
            }
        }
        for (name, mut all) in taken {
            all.sort();
            // Seen as it goes: the whole table takes a while.
            eprintln!("{number} hosts, {name}: {all:.2?}");
            let at = rows.iter().position(|(of, _)| *of == name).unwrap_or_else(|| {
                rows.push((name, vec![None; numbers.len()]));
                rows.len() - 1
            });
            rows[at].1[column] = Some(all[all.len() / 2]);
        }
    }
    for (name, columns) in rows {
        let cells: String = columns
            .iter()
            .map(|took| took.map_or(" |".to_owned(), |took| format!(" {:.2} |", took.as_secs_f64())))
            .collect();
        println!("| {name} |{cells}");
    }
    burden(&lab, &words, &green, &config);
    nobody_notices(&lab, &words[..most.min(8)], &green, &config);
}

/// What was measured, and how long it took.
type Taken = Vec<(&'static str, Duration)>;

/// A way to switch: what it took, in one or several measures.
struct Tool {
    name: &'static str,
    /// More hosts than this would take minutes.
    most: usize,
    run: fn(&Lab, &Peers, &[&str], &str) -> Taken,
}

const TOOLS: &[Tool] = &[
    Tool { name: "rollback-prod", most: 128, run: |lab, _, hosts, config| ours(lab, hosts, config, "") },
    Tool {
        name: "rollback-prod, curve25519",
        most: 128,
        run: |lab, _, hosts, config| ours(lab, hosts, config, "options = [\"KexAlgorithms=curve25519-sha256\"]\n"),
    },
    Tool { name: "xargs -P N ssh", most: 128, run: |_, peers, hosts, _| xargs(peers, hosts, SWITCH, "") },
    Tool {
        name: "xargs -P N ssh, curve25519",
        most: 128,
        run: |_, peers, hosts, _| xargs(peers, hosts, SWITCH, "-oKexAlgorithms=curve25519-sha256"),
    },
    Tool {
        name: "xargs -P N ssh, no checks",
        most: 128,
        run: |_, peers, hosts, _| xargs(peers, hosts, BARE_SWITCH, ""),
    },
    Tool {
        name: "pssh",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut pssh = Command::new("parallel-ssh");
            pssh.args(["-t", "120", "-p", &hosts.len().to_string(), "-H", &hosts.join(" "), "-x"]);
            vec![("", timed(pssh.arg(format!("-F {}", peers.ssh_config.display())).arg(SWITCH)))]
        },
    },
    Tool {
        name: "clush",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut clush = Command::new("clush");
            clush.args(["-f", &hosts.len().to_string(), "-w", &hosts.join(","), "-o"]);
            vec![("", timed(clush.arg(format!("-F {}", peers.ssh_config.display())).arg(SWITCH)))]
        },
    },
    Tool {
        name: "Fabric",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut fabric = Command::new(peers.python());
            vec![(
                "",
                timed(fabric.arg(peers.folder.join("fab.py")).arg(&peers.ssh_config).args(hosts).env("SWITCH", SWITCH)),
            )]
        },
    },
    Tool {
        name: "pyinfra",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut pyinfra = Command::new(peers.venv.join("bin/pyinfra"));
            pyinfra.args(["-y", "--parallel", &hosts.len().to_string(), "--data"]);
            pyinfra.arg(format!("ssh_config_file={}", peers.ssh_config.display()));
            // One name alone would be a file's for it.
            std::fs::write(peers.folder.join("inventory.py"), format!("hosts = {hosts:?}\n")).expect("write a file");
            vec![("", timed(pyinfra.current_dir(&peers.folder).args(["inventory.py", "exec", "--", SWITCH])))]
        },
    },
    Tool {
        name: "Ansible, raw",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut ansible = Command::new(peers.venv.join("bin/ansible"));
            ansible.args(["all", "-i", &format!("{},", hosts.join(",")), "-f", &hosts.len().to_string()]);
            ansible.env("ANSIBLE_SSH_ARGS", format!("-F {}", peers.ssh_config.display()));
            vec![("", timed(ansible.args(["-m", "raw", "-a", SWITCH])))]
        },
    },
    Tool {
        name: "Ansible, a playbook of modules, fewer checks",
        most: 8,
        run: |_, peers, hosts, _| {
            let mut ansible = Command::new(peers.venv.join("bin/ansible-playbook"));
            ansible.args(["-i", &format!("{},", hosts.join(",")), "-f", &hosts.len().to_string()]);
            ansible.env("ANSIBLE_SSH_ARGS", format!("-F {}", peers.ssh_config.display()));
            vec![("", timed(ansible.arg(peers.folder.join("switch.yml"))))]
        },
    },
    Tool {
        name: "Capistrano",
        most: 128,
        run: |_, peers, hosts, _| {
            let mut cap = Command::new("cap");
            cap.current_dir(&peers.folder).args(["production", "switch"]);
            cap.env("HOSTS_OF_BENCH", hosts.join(" ")).env("SWITCH", SWITCH).env("SSH_CONFIG", &peers.ssh_config);
            vec![("", timed(&mut cap))]
        },
    },
];

fn xargs(peers: &Peers, hosts: &[&str], switch: &str, option: &str) -> Taken {
    let line = format!("printf '%s\\n' \"$@\" | xargs -P {} -I@ ssh -n {option} -F \"$0\" @ \"$SWITCH\"", hosts.len());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).arg(&peers.ssh_config).args(hosts).env("SWITCH", switch);
    vec![("", timed(&mut command))]
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let took = began.elapsed();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    took
}

/// The config with these hosts only, and more lines for `[ssh]`.
fn config_for(lab: &Lab, hosts: &[&str], config: &str, ssh: &str) {
    let (_, rest) = config.split_once("[ssh]\n").expect("a config of the lab");
    let hosts: String = hosts.iter().map(|host| format!("[[host]]\nname = \"{host}\"\nssh = \"{host}\"\n\n")).collect();
    let text = format!("service = \"listings\"\nincidents = \"incidents\"\n\n{hosts}[ssh]\n{ssh}{rest}");
    lab.config_with(|_| text);
}

/// Traffic safe on all of them.
fn ours(lab: &Lab, hosts: &[&str], config: &str, ssh: &str) -> Taken {
    config_for(lab, hosts, config, ssh);
    let end = end_of(&mut program(lab, &["--json", "--keep-green", "--reason", "bench"]));
    let time = |key: &str| Duration::from_millis(end[key].as_u64().expect("a time"));
    vec![(", traffic safe", time("traffic_safe_ms")), (", drained, archived, reported", time("total_ms"))]
}

/// Green serves again everywhere, with no old worker left.
fn to_green(lab: &Lab, hosts: &[&str], file: &str) {
    for chunk in hosts.chunks(16) {
        std::thread::scope(|scope| {
            for host in chunk {
                scope.spawn(|| {
                    site::write(lab, host, FILE, file);
                    lab.sh(
                        host,
                        "nginx -s reload; sleep 0.3
                         while pgrep -f '[n]ginx: worker process is shutting down' >/dev/null; do sleep 0.05; done",
                    );
                    site::until("green serves", || served_by(lab, host) == "green");
                });
            }
        });
    }
}

/// Memory and open files of this program while it works on all of them, at their peaks.
fn burden(lab: &Lab, hosts: &[&str], green: &str, config: &str) {
    to_green(lab, hosts, green);
    config_for(lab, hosts, config, "");
    let mut child = program(lab, &["--json", "--keep-green", "--reason", "bench"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut files, mut kib) = (0, 0_u64);
    while child.try_wait().expect("look at it").is_none() {
        files = files.max(std::fs::read_dir(folder.join("fd")).map_or(0, Iterator::count));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let now = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib = kib.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = child.wait().expect("it ends");
    println!("\n{} hosts: {status}, {} MiB, {files} open files at the peak", hosts.len(), kib / 1024);
}

/// Users on every host while all of them switch.
fn nobody_notices(lab: &Lab, hosts: &[&str], green: &str, config: &str) {
    to_green(lab, hosts, green);
    config_for(lab, hosts, config, "");
    let loads: Vec<Load> = hosts.iter().map(|host| Load::start(&lab.ip(host), "GET", "/", 1)).collect();
    let output = program(lab, &["--reason", "bench"]).output().expect("it starts");
    let counts: Vec<_> = loads.into_iter().map(Load::stop).collect();
    let (total, bad) = counts.iter().fold((0, 0), |(total, bad), counts| {
        (total + counts.total, bad + counts.bad_statuses + counts.transport_errors)
    });
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    }
    println!("{} hosts under load: {}, {bad} of {total} requests failed", hosts.len(), output.status);
}

/// The peers, from their own packages, and what they need to do the same.
struct Peers {
    folder: PathBuf,
    venv: PathBuf,
    ssh_config: PathBuf,
}

impl Peers {
    fn install(folder: &Path, ssh_config: &Path) -> Peers {
        let cache = std::env::var_os("ROLLBACK_LAB_CACHE").unwrap_or_else(|| "/var/cache/rollback-prod-lab".into());
        let venv = PathBuf::from(cache).join("peers");
        let done = Command::new("sh")
            .args(["-ec", "command -v parallel-ssh clush cap >/dev/null || apt-get install -y -q pssh clustershell capistrano
                   [ -x \"$0/bin/pyinfra\" ] || { python3 -m venv \"$0\"; \"$0/bin/pip\" install -q ansible-core pyinfra fabric; }"])
            .arg(&venv)
            .stdout(Stdio::null())
            .status()
            .expect("start sh");
        assert!(done.success(), "the peers cannot be installed");
        let folder = folder.join("peers");
        std::fs::create_dir_all(folder.join("config/deploy")).expect("make a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("write a file");
        write(
            "fab.py",
            "import os, sys\nfrom fabric import Config, ThreadingGroup\n\
             group = ThreadingGroup(*sys.argv[2:], config=Config(runtime_ssh_path=sys.argv[1]))\n\
             group.run(os.environ['SWITCH'], hide=True)\n",
        );
        // There is no source to fetch.
        write(
            "Capfile",
            "require 'capistrano/setup'\nrequire 'capistrano/deploy'\nrequire 'capistrano/scm/plugin'\n\
             class NoSource < Capistrano::SCM::Plugin\nend\ninstall_plugin NoSource\n",
        );
        write("config/deploy.rb", "");
        write(
            "config/deploy/production.rb",
            "set :ssh_options, { config: [ENV['SSH_CONFIG']] }\nset :format, :simpletext\n\
             role :web, ENV['HOSTS_OF_BENCH'].split\n\
             task :switch do\n  on roles(:web), in: :parallel do\n    execute ENV['SWITCH']\n  end\nend\n",
        );
        write(
            "switch.yml",
            "- hosts: all\n  gather_facts: false\n  become: true\n  tasks:\n\
             \x20   - uri: { url: 'http://127.0.0.1:8080/health' }\n      register: blue\n      until: blue.status == 200\n\
             \x20   - replace: { path: /etc/nginx/sites-available/listings, regexp: '8080 down', replace: '8080 weight=100' }\n\
             \x20   - replace: { path: /etc/nginx/sites-available/listings, regexp: '8081 weight=100', replace: '8081 down' }\n\
             \x20   - command: nginx -t\n\
             \x20   - systemd: { name: nginx, state: reloaded }\n\
             \x20   - uri: { url: 'http://127.0.0.1/', return_content: true }\n      register: answer\n\
             \x20     until: answer.content is search('blue')\n      retries: 50\n      delay: 0.1\n",
        );
        Peers { folder, venv, ssh_config: ssh_config.to_owned() }
    }

    fn python(&self) -> PathBuf {
        self.venv.join("bin/python")
    }
}
