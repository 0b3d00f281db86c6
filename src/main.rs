//! The edge of the process: flags in, exit code out. Everything between is `app`'s.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use rollback_prod::app;
use rollback_prod::cli::Cli;
use rollback_prod::nouns::clock::Clock;

fn main() -> ExitCode {
    let clock = Clock::start();
    let words: Vec<_> = std::env::args_os().collect();
    let called_as = words.first().and_then(|name| std::path::Path::new(name).file_stem()?.to_str()).unwrap_or("");
    let is_staging = called_as == "rollback-staging";
    let command = if is_staging { Cli::command().name("rollback-staging") } else { Cli::command() };
    let cli = match command.try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(err) => {
            // Help and version are no errors; a closed pipe behind them is none either.
            let _ = err.print();
            return ExitCode::from(if err.use_stderr() { 2 } else { 0 });
        }
    };
    app::set_panic_words();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("error: cannot start: {err}\nproduction: nothing was changed");
            return ExitCode::from(1);
        }
    };
    let exit = runtime.block_on(app::run(cli, clock, is_staging));
    // A message that still hangs, or a host that does not say goodbye, must not hold the operator's prompt.
    runtime.shutdown_background();
    ExitCode::from(exit)
}
