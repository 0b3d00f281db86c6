//! What stands on the screen of a run, for one host and for 128: the plan above it, the lines that stay, and the live ones,
//! at any width. Whole runs are played against hosts in memory; at the end one on a real host and a real terminal.

#[path = "support/fleet.rs"]
mod fleet;

#[path = "support/played.rs"]
mod played;
mod support;

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use chrono::DateTime;
use fleet::{Dice, Fault, Fleet, When};
use played::{Ran, Shape, inventory, request, run_beside};
use rollback_prod::incident::journal::{Progress, Typed, Watcher};
use rollback_prod::nouns::names::{HostName, ServiceName};
use rollback_prod::nouns::plan::{Plan, Short};
use rollback_prod::nouns::record::{Entry, Status, StepWord, What};
use rollback_prod::nouns::rules::Judgement;
use rollback_prod::tell::terminal::board::{Board, Detail, Kind, Size};
use support::lab::Lab;
use support::{Scene, rollback_prod};

const SIZES: [Size; 4] = [
    Size { columns: 80, rows: 24 },
    Size { columns: 40, rows: 10 },
    Size { columns: 200, rows: 50 },
    Size { columns: 12, rows: 3 },
];

/// Without colours, as somebody with NO_COLOR sees it.
fn bare(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}

/// The rows that lines take on a terminal that breaks them.
fn rows(lines: &[String], columns: usize) -> usize {
    lines.iter().map(|line| bare(line).chars().count().max(1).div_ceil(columns)).sum()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| bare(line)).collect::<Vec<_>>().join("\n")
}

/// The live lines at each size: none is too wide, and they are not too many.
#[track_caller]
fn live(board: &Board, now: Duration, size: Size) -> Vec<String> {
    let lines = board.live(now, size);
    assert!(lines.len() < size.rows.max(2), "{size:?}:\n{}", text(&lines));
    for line in &lines {
        assert!(bare(line).chars().count() < size.columns, "{size:?}: {}", bare(line));
    }
    lines
}

/// Whoever looks at a played run: what stays, and that what is live fits whatever the terminal is at that moment.
struct Onlooker {
    board: Mutex<Board>,
    began: tokio::time::Instant,
    stayed: Mutex<Vec<String>>,
    /// The live lines of 80 columns, each time that they changed.
    lived: Mutex<Vec<String>>,
}

impl Onlooker {
    fn new(kind: Kind, detail: Detail) -> Onlooker {
        Onlooker {
            board: Mutex::new(Board::new(kind, detail)),
            began: tokio::time::Instant::now(),
            stayed: Mutex::default(),
            lived: Mutex::default(),
        }
    }

    fn stayed(self) -> Vec<String> {
        let mut stayed = self.stayed.into_inner().expect("no test panics in there");
        stayed.extend(self.board.into_inner().expect("no test panics in there").clear());
        stayed
    }
}

impl Watcher for Onlooker {
    fn show(&self, entry: &Entry) {
        let now = self.began.elapsed();
        let mut board = self.board.lock().expect("no test panics in there");
        let mut stayed = self.stayed.lock().expect("no test panics in there");
        stayed.extend(board.tick(now));
        stayed.extend(board.show(entry, now));
        for size in SIZES {
            live(&board, now, size);
        }
        self.lived.lock().expect("no test panics in there").push(text(&board.live(now, SIZES[0])));
    }

    fn ask(&self, _text: &str, _question: &str) -> Typed {
        Box::pin(async { None })
    }

    fn progress(&self, _progress: &Progress<'_>) {}

    fn judging(&self, _judgement: &Judgement) {}
}

/// A rollback of so many hosts, as `prepare` leaves them and somebody sees it.
async fn played(count: usize, prepare: impl FnOnce(&Fleet), onlooker: &Onlooker) -> Ran {
    let (inventory, file) = inventory(Shape::Alike(count));
    let fleet = Fleet::new(&inventory, &file, Dice::new(1));
    prepare(&fleet);
    let folder = tempfile::tempdir().expect("a folder");
    run_beside(&fleet, &inventory, folder.path(), &request(1, Vec::new(), None), Some(onlooker)).await
}

fn short(plan: &Plan) -> Vec<String> {
    Short { plan, in_full: "--dry-run" }.to_string().lines().map(str::to_owned).collect()
}

/// A rollback of 128 hosts in which nothing goes wrong.
#[tokio::test(start_paused = true)]
async fn a_rollback_of_128_hosts_is_one_screen_from_its_plan_to_its_end() {
    for kind in [Kind::Live, Kind::Plain] {
        let onlooker = Onlooker::new(kind, Detail::Usual);
        let ran = played(128, |_| {}, &onlooker).await;
        assert_eq!(ran.verdict.exit, 0, "{}", ran.said);
        let plan = short(&ran.plan.expect("one"));
        let stayed = onlooker.stayed();
        let all = format!("{}\n{}", plan.join("\n"), text(&stayed));
        // These hosts have no logs; what is missing everywhere is said of the first one and then of all others together.
        let (gaps, stayed): (Vec<String>, Vec<String>) = stayed.into_iter().partition(|line| line.contains("gap:"));
        assert_eq!(gaps.len(), 4, "{all}");
        assert!(rows(&plan, 80) <= 12 && rows(&plan, 80) + rows(&stayed, 80) <= 24, "{all}");
        assert!(all.contains("switch    done on 128 of 128 hosts: blue 100, green down"), "{all}");
        assert!(all.contains("traffic is safe: blue serves on 128 of 128 hosts"), "{all}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_among_128_is_told_by_name_whatever_else_is_folded() {
    for kind in [Kind::Live, Kind::Plain] {
        let onlooker = Onlooker::new(kind, Detail::Usual);
        let fails = |fleet: &Fleet| {
            for call in [6, 20, 21, 100] {
                fleet.strike(When { program: Some("switch"), call }, Fault::Fails);
            }
        };
        played(128, fails, &onlooker).await;
        let lived = onlooker.lived.lock().expect("no test panics in there").join("\n");
        let said = text(&onlooker.stayed());
        let failed = |host: &str| {
            said.lines().any(|line| {
                line.contains("switch ")
                    && line.contains("failed")
                    && line.split([' ', ',', ':']).any(|word| word == host)
            })
        };
        for host in ["web7", "web21", "web22", "web101"] {
            assert!(failed(host), "{host}\n{said}");
        }
        assert!(said.contains("done on 124 of 128 hosts"), "{said}");
        // It stands on the live line the moment it is known, and not only when the step is over.
        let seen = lived.contains("switch") && lived.contains("· failed web7");
        assert_eq!(seen, kind == Kind::Live, "{lived}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_hosts_have_a_line_each_and_so_have_many_with_verbose() {
    for (count, detail) in [(1, Detail::Usual), (3, Detail::Usual), (32, Detail::Verbose)] {
        let onlooker = Onlooker::new(Kind::Plain, detail);
        played(count, |_| {}, &onlooker).await;
        let said = text(&onlooker.stayed());
        for host in 1..=count {
            assert!(said.contains(&format!("switch    web{host} done: blue 100, green down")), "{said}");
        }
        assert!(!said.contains("done on"), "{said}");
    }
    let onlooker = Onlooker::new(Kind::Live, Detail::Usual);
    played(3, |_| {}, &onlooker).await;
    let said = text(&onlooker.stayed());
    assert!(said.contains("✔ switch    web1 web2 web3: blue 100, green down ("), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_never_takes_hosts_for_alike_that_differ() {
    let by_name = |fleet: &Fleet| {
        fleet.change(|host, machine| {
            machine.file =
                machine.file.replace("listen 80;", &format!("listen 80;\n    server_name {host}.example.com;"));
            if host.as_str() == "web77" {
                machine.file = machine.file.replace("weight=100", "weight=90");
            }
            machine.loaded = machine.file.clone();
        });
    };
    let onlooker = Onlooker::new(Kind::Live, Detail::Usual);
    let plan = played(128, by_name, &onlooker).await.plan.expect("one");
    let lines = short(&plan);
    let said = lines.join("\n");
    assert!(rows(&lines, 80) <= 20, "{said}");
    assert!(said.contains("nginx: like on 127 hosts (web1, web2, web3, … +124)"), "{said}");
    assert!(said.contains("8081: weight=100 → down (2 lines on each)"), "{said}");
    assert!(said.contains("nginx: web77: "), "{said}");
    assert!(said.contains("8081: weight=90 → down (2 lines)"), "{said}");

    // In full each kind is there once, and so is each name.
    let full = plan.to_string();
    assert_eq!(full.matches("+++ ").count(), 2, "{full}");
    assert!(full.contains("\n-    server 127.0.0.1:8081 weight=90;"), "{full}");
    for host in 1..=128 {
        let name = format!("web{host}");
        assert!(full.split([' ', ',', ':', '\n']).any(|word| word == name), "{name}: {full}");
    }
    assert!(full.contains("\nweb77:\n--- "), "{full}");
}

#[tokio::test(start_paused = true)]
async fn the_plan_of_a_fleet_in_which_every_host_differs_is_still_no_screenful() {
    let each = |fleet: &Fleet| {
        fleet.change(|host, machine| {
            let number = host.as_str().trim_start_matches("web");
            machine.file = machine.file.replace("weight=100", &format!("weight=100 max_conns={number}"));
            machine.loaded = machine.file.clone();
        });
    };
    let onlooker = Onlooker::new(Kind::Live, Detail::Usual);
    let plan = played(128, each, &onlooker).await.plan.expect("one");
    let lines = short(&plan);
    let said = lines.join("\n");
    assert!(rows(&lines, 80) <= 24, "{said}");
    // What there is no room for is counted and not passed off as what is shown.
    assert!(said.contains("max_conns=1 → down") && said.contains("max_conns=3 → down"), "{said}");
    assert!(said.contains("… and 125 other kinds on 125 hosts: see --dry-run"), "{said}");
    assert_eq!(plan.to_string().matches("+++ ").count(), 128);
}

fn entry(what: What) -> Entry {
    Entry { v: 1, time: DateTime::UNIX_EPOCH, at_ms: 0, service: None, what }
}

fn outcome(step: StepWord, host: &str, status: Status, detail: &str) -> Entry {
    let host = (!host.is_empty()).then(|| HostName::new(host).expect("a name"));
    entry(What::Outcome { step, host, of: None, status, ms: 7, detail: detail.to_owned() })
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A switch that has begun on so many hosts.
fn begun(kind: Kind, count: usize) -> Board {
    let mut board = Board::new(kind, Detail::Usual);
    for host in 1..=count {
        board.show(&outcome(StepWord::Switch, &format!("web{host}"), Status::Started, ""), s(0));
    }
    board
}

fn end(board: &mut Board, hosts: impl IntoIterator<Item = usize>, status: Status, now: Duration) -> Vec<String> {
    let ended = hosts.into_iter().map(|host| outcome(StepWord::Switch, &format!("web{host}"), status, "blue 100"));
    ended.flat_map(|entry| board.show(&entry, now)).collect()
}

#[test]
fn a_step_of_any_number_of_hosts_is_one_line_at_any_width() {
    for count in [1, 3, 32, 128] {
        for size in SIZES {
            let mut board = begun(Kind::Live, count);
            assert_eq!(live(&board, s(0), size).len(), 1);
            end(&mut board, 1..count.min(count / 2 + 1), Status::Done, s(1));
            let lines = live(&board, s(14), size);
            assert_eq!(lines.len(), 1, "{}", text(&lines));
            // While it is dragged, too.
            for columns in 1..120 {
                live(&board, s(14), Size { columns, rows: 24 });
            }
        }
    }
    let line = |board: &Board, columns: usize| text(&live(board, s(12), Size { columns, rows: 24 }));
    let mut board = begun(Kind::Live, 32);
    end(&mut board, (1..=29).filter(|host| *host != 7), Status::Done, s(1));
    end(&mut board, [30], Status::Failed, s(2));
    let (wide, usual, narrow) = (line(&board, 200), line(&board, 80), line(&board, 40));
    assert!(
        wide.contains("28 of 32 hosts · failed web30 · still waiting for web7 (12 s), web31 (12 s), web32 (12 s)"),
        "{wide}"
    );
    assert!(usual.contains("28 of 32 hosts · failed web30 · still waiting for web7 (12 s) +2"), "{usual}");
    // Who failed is the last thing to go.
    assert_eq!(narrow, "⠋ switch    28 of 32 · failed web30");
    assert!(line(&board, 60).contains("28 of 32 · failed web30 · 3 waiting (12 s)"), "{}", line(&board, 60));
}

#[test]
fn a_wait_is_told_when_it_is_one_and_the_slowest_first() {
    let mut board = begun(Kind::Live, 32);
    let usual = |board: &Board, now| text(&live(board, now, SIZES[0]));
    assert!(!usual(&board, s(1)).contains("waiting"), "nobody notices a second");
    assert!(
        usual(&board, s(3)).contains("0 of 32 hosts · still waiting for web1 (3 s), web2 (3 s) +30"),
        "{}",
        usual(&board, s(3))
    );
    end(&mut board, (1..=32).filter(|host| *host != 7), Status::Done, s(4));
    assert!(
        usual(&board, s(12)).contains("31 of 32 hosts · still waiting for web7 (12 s)"),
        "{}",
        usual(&board, s(12))
    );
    board.show(&outcome(StepWord::Switch, "late", Status::Started, ""), s(12));
    assert!(usual(&board, s(15)).contains("web7 (15 s), late (3 s)"), "{}", usual(&board, s(15)));
}

#[test]
fn a_low_terminal_shows_where_something_is_wrong() {
    let mut board = Board::new(Kind::Live, Detail::Usual);
    let service = |number: usize| Some(ServiceName::new(format!("service{number:02}")).expect("a name"));
    for number in 1..=20 {
        for host in ["web1", "web2"] {
            let started = outcome(StepWord::Switch, host, Status::Started, "");
            board.show(&Entry { service: service(number), ..started }, s(0));
        }
    }
    board.show(&Entry { service: service(17), ..outcome(StepWord::Switch, "web1", Status::Failed, "no") }, s(1));
    let lines = live(&board, s(1), SIZES[0]);
    assert_eq!(lines.len(), 20, "{}", text(&lines));
    let lines = live(&board, s(1), Size { columns: 80, rows: 6 });
    let said = text(&lines);
    assert!(lines.len() == 5 && said.contains("service17: 0 of 2 hosts · failed web1"), "{said}");
    assert!(said.contains("… and 16 more steps"), "{said}");
    assert_eq!(live(&board, s(1), Size { columns: 80, rows: 1 }).len(), 1);
}

#[test]
fn where_lines_stay_it_is_said_every_ten_seconds_who_is_waited_for() {
    for count in [1, 3, 128] {
        let mut board = begun(Kind::Plain, count);
        end(&mut board, (1..=count).filter(|host| *host != 1), Status::Done, s(1));
        let said: Vec<String> = (1..=42).flat_map(|now| board.tick(s(now))).map(|line| bare(&line)).collect();
        let done = if count > 1 { format!("{} of {count} hosts done · ", count - 1) } else { String::new() };
        let expected = [10, 20, 30, 40].map(|wait| format!("switch    {done}still waiting for web1, {wait} s"));
        assert_eq!(said, expected);
        assert!(live(&board, s(42), SIZES[0]).is_empty(), "nothing moves the cursor");
    }
    // A live line says it all the time.
    assert!(begun(Kind::Live, 3).tick(s(60)).is_empty());
}

#[test]
fn failures_of_many_are_told_once_for_each_kind_and_by_every_name() {
    let mut board = begun(Kind::Plain, 128);
    let first = end(&mut board, [5], Status::Failed, s(1));
    assert_eq!(text(&first), "switch    web5 failed: blue 100 (7 ms)");
    assert_eq!(text(&end(&mut board, 6..=128, Status::Failed, s(1))), "");
    // Not only when the step is over: one host may hang.
    let again = text(&board.tick(s(4)));
    assert!(again.starts_with("switch    failed on 123 more hosts, web6, web7, web8, "), "{again}");
    assert!(again.contains(", web127, web128: blue 100"), "{again}");
    let other = outcome(StepWord::Switch, "web1", Status::Failed, "another reason");
    assert!(text(&board.show(&other, s(4))).contains("web1 failed: another reason"));
    let last = text(&end(&mut board, 2..=4, Status::Done, s(5)));
    assert!(last.contains("done on 3 of 128 hosts, failed on "), "{last}");
}

#[test]
fn what_colours_is_nothing_that_is_missed_without_it() {
    let mut board = begun(Kind::Live, 12);
    end(&mut board, [3], Status::Failed, s(1));
    end(&mut board, [4], Status::Skipped, s(1));
    let lines = board.live(s(1), SIZES[0]);
    assert!(lines[0].contains("\u{1b}[1m\u{1b}[31mfailed"), "it is red: {:?}", lines[0]);
    assert!(bare(&lines[0]).contains("failed web3 · skipped web4"), "{}", bare(&lines[0]));
}

#[test]
fn a_note_that_the_plan_has_is_not_said_twice() {
    let mut board = begun(Kind::Plain, 3);
    let note = || entry(What::Note { text: "web1: its clock is off".into() });
    board.leave_to_the_plan(&["web1: its clock is off".into()]);
    assert!(board.show(&note(), s(1)).is_empty());
    assert_eq!(text(&board.show(&note(), s(1))), "note:     web1: its clock is off");
}

/// What stands on a terminal of so many columns, and above it, once it was sent that; the sequences that ours are made of.
fn screen(sent: &str, columns: usize) -> Vec<String> {
    let (mut rows, mut row, mut column) = (vec![Vec::<char>::new()], 0, 0);
    let mut rest = sent;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence has an end");
                let (count, what) = (rest[1..end].parse().unwrap_or(0), &rest[end..=end]);
                rest = &rest[end + 1..];
                match what {
                    "m" => {}
                    "K" => rows[row].truncate(column),
                    "J" => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    "A" => row = row.checked_sub(count).expect("it never goes above the first row"),
                    other => panic!("{other:?} is none of ours"),
                }
            }
            c => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                rows.resize(rows.len().max(row + 1), Vec::new());
                let blanks = rows[row].len().max(column + 1);
                rows[row].resize(blanks, ' ');
                rows[row][column] = c;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// A run of the program on a terminal of 80 columns, and all that was sent to that.
fn on_a_terminal(lab: &Lab, variables: &str, words: &str) -> Scene {
    let (program, config) = (rollback_prod().get_program().to_owned(), lab.folder().join("rollback.toml"));
    let run = format!(
        "stty cols 80 rows 24; exec env TERM=xterm-256color {variables} {} --config {} {words}",
        program.display(),
        config.display()
    );
    let mut script = Command::new("script");
    script.env_remove("NO_COLOR").current_dir(lab.folder()).args(["-qec", &run, "/dev/null"]);
    Scene::of(&mut script, lab.folder())
}

#[test]
fn a_real_terminal_is_left_as_a_log_and_plain_never_moves_its_cursor() {
    let lab = Lab::up(&["web1"]);
    lab.config("");
    let moves = |text: &str| {
        let after = text.split('\u{1b}').skip(1).filter_map(|after| after.chars().find(char::is_ascii_alphabetic));
        after.filter(|end| *end != 'm').count()
    };

    let live = on_a_terminal(&lab, "", "--reason 'it is bad'");
    live.exits(0).holds(moves(&live.stdout) > 0 && live.stdout.contains('⠋'), "it has live lines");
    live.says("\u{1b}[32m");
    let left = screen(&live.stdout, 80);
    let said = left.join("\n");
    // What was live is gone, and nothing that stays was written over.
    live.holds(!said.contains(['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']), &said);
    live.holds(left.iter().any(|row| row.starts_with("✔ switch    web1: blue 100, green down (")), &said);
    live.holds(left.iter().any(|row| row.starts_with("traffic is safe: blue serves on 1 of 1 host (")), &said);
    live.holds(left.iter().any(|row| row == "  2. switch to blue and prove it on web1"), &said);
    live.holds(!said.contains("@@"), "a diff is for the dry run");
    live.holds(left.iter().filter(|row| !row.is_empty()).count() <= 30, &said);

    let plain = on_a_terminal(&lab, "", "undo --plain");
    plain.exits(0).says("switch    web1 ").says("\u{1b}[32m").says("--verbose shows all of it");
    plain.holds(moves(&plain.stdout) == 0, "nothing moves the cursor");
    plain.holds(!plain.stdout.replace("\r\n", "\n").contains('\r'), "no line is written over");

    let colourless = on_a_terminal(&lab, "NO_COLOR=1", "--reason again --keep-green");
    colourless.exits(0).holds(moves(&colourless.stdout) > 0, "it has live lines");
    colourless.holds(moves(&colourless.stdout) == colourless.stdout.matches('\u{1b}').count(), "and no colours");
    colourless
        .holds(screen(&colourless.stdout, 80).iter().any(|row| row.starts_with("✔ switch    web1: ")), "all is said");

    let dumb = on_a_terminal(&lab, "TERM=dumb", "status");
    dumb.exits(0).holds(moves(&dumb.stdout) == 0, "nothing moves the cursor");
}
