//! What a supervisor says of what it was told to start: whether it has given up, and why, in words. Asks nobody.

use crate::hosts::answer::Answer;

/// Why a start need not be waited for any longer, in what `start.sh` or `health.sh` said of the supervisor: it has given up.
/// With its own reason and the last words of the program; `None` while it may still come up, and of a plain process.
pub fn given_up(answer: &Answer) -> Option<String> {
    let shown = answer.text("supervisor")?;
    let property = |name: &str| {
        let value = shown.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        value.map(str::trim).filter(|value| !value.is_empty())
    };
    let why = match (property("ActiveState"), property("Status")) {
        (Some("failed"), _) => {
            let result = property("Result").unwrap_or("failed");
            // 1 is an exit, 2 and 3 a signal: CLD_EXITED, CLD_KILLED, CLD_DUMPED of waitid(2).
            match (property("ExecMainCode"), property("ExecMainStatus")) {
                (Some("1"), Some(status)) => format!("its unit failed: {result}, status {}", named_status(status)),
                (Some("2" | "3"), Some(signal)) => format!("its unit failed: {result}, signal {signal}"),
                _ => format!("its unit failed: {result}"),
            }
        }
        (None, Some(status @ ("exited" | "dead"))) => {
            let code = property("ExitCode").unwrap_or("?");
            let error = property("Error").map_or(String::new(), |error| format!(": {error}"));
            format!("its container has {status} with status {code}{error}")
        }
        _ => return None,
    };
    let last = answer.text("last_words").unwrap_or_default();
    let last: Vec<&str> = last.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Some(if last.is_empty() { why } else { format!("{why}; it said: {}", last.join(" | ")) })
}

/// What systemd means by a status of its own, as `systemctl status` writes it; systemd.exec(5).
fn named_status(status: &str) -> String {
    let name = match status {
        "200" => "CHDIR",
        "203" => "EXEC",
        "209" => "STDOUT",
        "216" => "GROUP",
        "217" => "USER",
        "226" => "NAMESPACE",
        _ => return status.to_owned(),
    };
    format!("{status}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sections: &[(&str, &str)]) -> Answer {
        let sections = sections.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        Answer { sections, ..Answer::default() }
    }

    #[test]
    fn a_start_is_given_up_when_its_supervisor_has() {
        let failed =
            "Result=exit-code\nNRestarts=5\nExecMainCode=1\nExecMainStatus=203\nActiveState=failed\nSubState=failed";
        let said = given_up(&answer(&[("supervisor", failed), ("last_words", "a\n\nb\n")]));
        assert_eq!(said.as_deref(), Some("its unit failed: exit-code, status 203/EXEC; it said: a | b"));
        let killed = "Result=oom-kill\nExecMainCode=2\nExecMainStatus=9\nActiveState=failed";
        let said = given_up(&answer(&[("supervisor", killed)]));
        assert_eq!(said.as_deref(), Some("its unit failed: oom-kill, signal 9"));
        let exited = given_up(&answer(&[("supervisor", "Status=exited\nExitCode=1\nError=no room")]));
        assert_eq!(exited.as_deref(), Some("its container has exited with status 1: no room"));
        for on_its_way in ["ActiveState=activating\nSubState=auto-restart", "ActiveState=active", "Status=running", ""]
        {
            assert_eq!(given_up(&answer(&[("supervisor", on_its_way)])), None, "{on_its_way}");
        }
        assert_eq!(given_up(&answer(&[])), None);
    }
}
