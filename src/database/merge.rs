//! Rows of some tables into the live database: looked at on both sides, put beside the live ones, merged in one transaction,
//! and taken back. Drives hosts through the traits of `remote`; never asks anybody for consent, and writes to no live table
//! without one.

use std::time::Duration;

use super::restore::{DatabaseServer, Swapped, Work, lock_was_taken, worst_line};
use super::{programs, tables};
use crate::database::tables::{Dangling, Picked, Preview, Since, Told};
use crate::hosts::remote::{Apply, Ask};
use crate::nouns::consent::Overwrite;
use crate::nouns::plan::TablesWish;
use crate::nouns::record::Merge;

impl<F> Work<'_, F> {
    /// `rollback_prod_before_20261120_211503`, in the live database.
    pub fn schema_of(&self, what: &str) -> String {
        format!("rollback_prod_{what}_{}", self.number())
    }
}

impl<F: Ask> Work<'_, F> {
    /// The tables that rows are put into.
    ///
    /// # Errors
    /// Every reason why they cannot be.
    pub async fn pick(&self, server: &DatabaseServer, copy: &str, wish: &TablesWish) -> Result<Picked, String> {
        let question = programs::tables(self.inventory, self.database, &server.facts.way, copy, &wish.names);
        let answer = self.fleet.ask(&server.host, &question).await.map_err(|failure| failure.to_string())?;
        tables::pick(wish, &tables::shapes(&answer)).map_err(|problems| {
            let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
            why.join("; ")
        })
    }

    /// What was written since to rows that a merge put back; `None` where nobody can say.
    pub async fn written_since(&self, server: &DatabaseServer, merge: &Merge) -> Option<Vec<Since>> {
        let question = programs::since(self.inventory, self.database, &server.facts.way, merge);
        let answer = self.fleet.ask(&server.host, &question).await;
        tables::since(&answer.ok()?)
    }

    /// Whether the live database has the schema that a merge leaves, asked anew: it comes with the rows, and not without
    /// them. `None` where nobody can say.
    async fn is_merged(&self, merge: &Merge) -> Option<bool> {
        let facts = self.server().await.ok()?.facts;
        facts.live.as_ref()?;
        Some(facts.schemas.iter().any(|schema| schema.name == merge.kept))
    }
}

impl<F: Apply> Work<'_, F> {
    /// Puts the rows of a copy beside the live ones, and looks at what a merge would change.
    ///
    /// # Errors
    /// Why it cannot be done; nothing is left of it then, or what is left is named.
    pub async fn stage(
        &self,
        server: &DatabaseServer,
        copy: &str,
        merge: &Merge,
        wish: &TablesWish,
    ) -> Result<(Vec<Preview>, Vec<Dangling>), String> {
        self.say_progress(server, None, &format!("putting rows of {} beside the live ones", merge.names()));
        let (stage, tenure) = (self.schema_of("from"), self.tenure_on(&server.host));
        let comment = format!("rollback-prod: rows that {} is about to put back", self.run);
        let names = (copy, stage.as_str(), comment.as_str());
        let way = &server.facts.way;
        let change = programs::stage(self.inventory, self.database, way, tenure.as_ref(), names, merge, wish);
        let failed = match self.fleet.apply(&server.host, &change).await {
            Ok(answer) if answer.status == 0 => return Ok(tables::previews(&answer)),
            Ok(answer) if answer.status == 93 => lock_was_taken(&answer),
            Ok(answer) => {
                let sections = ["stage", "preview", "dangling"].map(|name| answer.text(name));
                let said = sections.into_iter().flatten().collect::<String>();
                worst_line(&said)
            }
            Err(failure) => failure.to_string(),
        };
        match self.drop_schema(server, &stage).await {
            Ok(()) => Err(failed),
            Err(why) => Err(format!("{failed}; its schema {stage} may be there still: {why}")),
        }
    }

    /// Puts rows into the live tables: those of a copy, or with no wish those that an earlier merge kept in `from`. What was
    /// changed, where that was told. An answer that was lost is looked for before anything is concluded from it.
    pub async fn merge(
        &self,
        server: &DatabaseServer,
        consent: &Overwrite<Merge>,
        from: &str,
        comment: &str,
        wish: Option<&TablesWish>,
    ) -> (Swapped, Vec<Told>) {
        let merge = consent.change();
        let tenure = self.tenure_on(&server.host);
        let rows = programs::RowsToMerge { run: self.run, tenure: tenure.as_ref(), merge, from, comment, wish };
        let change = programs::merge(self.inventory, self.database, &server.facts.way, &rows);
        let limit = Duration::from_secs(programs::MERGE_SECONDS + 20);
        // By what is there, where what was said does not tell.
        let by_sight = async |why: String| match self.is_merged(merge).await {
            Some(true) => Swapped::Done(None),
            Some(false) => Swapped::No(why),
            None => Swapped::Unknown(why),
        };
        let answer = match self.apply_or_find(server, &change, "merge", limit).await {
            Ok(answer) => answer,
            Err(failure) => return (by_sight(failure.to_string()).await, Vec::new()),
        };
        let said = worst_line(&answer.text("merge").unwrap_or_default());
        let ended = match answer.status {
            0 => Swapped::Done(answer.text("took").and_then(|took| took.trim().parse().ok())),
            93 => Swapped::No(lock_was_taken(&answer)),
            // A session that was ended between its last words and our reading them has done it.
            _ => by_sight(said).await,
        };
        (ended, tables::told(&answer))
    }

    /// Drops a schema of ours in the live database.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn drop_schema(&self, server: &DatabaseServer, schema: &str) -> Result<(), String> {
        let tenure = self.tenure_on(&server.host);
        self.dropped(server, &programs::drop_schema(self.inventory, self.database, tenure.as_ref(), schema)).await
    }
}
