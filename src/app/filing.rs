//! `report --ticket … --file`: an incident is filed once, and where it is stands in its journal. What is about to be sent is
//! there first, so that a ticket of which nobody knows is never made a second time.

use super::Run;
use super::afterwards::ReadBack;
use crate::incident::journal;
use crate::incident::past;
use crate::nouns::production::Verdict;
use crate::nouns::record::{TicketState, What};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::tell::filing::{TicketAnswer, TicketPlace};
use crate::tell::ticket::{self, Tracker};

impl Run<'_> {
    pub(super) async fn file_ticket(&self, incident: Option<&str>, tracker: Tracker) -> u8 {
        let session = self.first();
        let read = match past::folder_of(self.incidents(), incident).and_then(ReadBack::open) {
            Ok(read) => read,
            Err(why) => return self.refused_afterwards(RefusalName::IncidentUnknown, &why),
        };
        let (word, by) = (tracker.word(), session.request.operator.clone());
        let Some(place) = TicketPlace::of(&session.inventory().tickets, tracker) else {
            session.terminal.hint(tracker.example());
            return self.refused_afterwards(RefusalName::Ticket, &format!("the config has no [tickets] {word}"));
        };
        // Of two that file at once one does: what it came to is in the journal before the other one looks.
        let _turn = match journal::alone(&read.folder().join(journal::FILE)) {
            Some(turn) => turn,
            None => {
                let why = format!("somebody else files a ticket for {} at this moment", read.name());
                return self.refused_afterwards(RefusalName::Ticket, &why);
            }
        };
        let read = match ReadBack::open(read.folder().to_owned()) {
            Ok(read) => read,
            Err(why) => return self.refused_afterwards(RefusalName::IncidentUnknown, &why),
        };
        match read.ticket(word) {
            Some(TicketState::Filed { url }) => return self.end_of(&read, &format!("already filed: {url}")),
            Some(TicketState::Sent) => {
                let why = format!(
                    "an earlier try had no answer, and there may be a ticket: look for {} in {}; to file it by hand, paste what \
                     is printed without --file",
                    read.name(),
                    place.name()
                );
                return self.refused_afterwards(RefusalName::Ticket, &why);
            }
            Some(TicketState::Refused { .. }) | None => {}
        }
        if place.token().secret.is_none() {
            let why = format!("the variable {} is not set, so nothing is filed", place.token().env);
            return self.refused_afterwards(RefusalName::VariableUnset, &why);
        }
        let text = ticket::ticket(&read.stories(), tracker, &session.redactor());
        let line = |state| What::Ticket { by: by.clone(), tracker: word.to_owned(), state };
        let path = read.folder().join(journal::FILE);
        if let Err(err) = journal::add(&path, session.clock.now(), line(TicketState::Sent)) {
            return self.refused_afterwards(RefusalName::IncidentFolder, &format!("{err:#}"));
        }
        let id = format!("{}.{word}", read.name());
        let answer = tokio::task::spawn_blocking(move || place.file(&text, &id)).await;
        let answer = answer.unwrap_or_else(|err| TicketAnswer::Unknown(err.to_string()));
        let (state, words) = match answer {
            TicketAnswer::Filed(url) => (TicketState::Filed { url: url.clone() }, Ok(format!("filed: {url}"))),
            TicketAnswer::Refused(why) => {
                (TicketState::Refused { why: why.clone() }, Err(format!("it was not filed: {word}: {why}")))
            }
            TicketAnswer::Unknown(why) => {
                (TicketState::Sent, Err(format!("whether it was filed is not known: {word}: {why}")))
            }
        };
        // The line that it was sent stands there already.
        let added = match &state {
            TicketState::Sent => read.refresh_sum_of_journal(),
            TicketState::Filed { .. } | TicketState::Refused { .. } => {
                self.add(Some(&read.name()), line(state)).map(|_| ())
            }
        };
        if let Err(why) = added {
            // What became of it is said here all the same.
            session.terminal.warning(&why);
        }
        match words {
            Ok(words) => self.end_of(&read, &words),
            Err(words) => {
                session.terminal.refusals(session.clock.now(), None, &[Refusal::new(RefusalName::Ticket, &words)]);
                let production = format!("not asked; {}: {words}", read.name());
                let verdict = Verdict { exit: 1, production, next: session.command("history"), left: Vec::new() };
                session.end(&verdict, None, Some(read.folder()), None)
            }
        }
    }
}
