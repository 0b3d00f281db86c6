//! Where incidents are filed. A token that is not there is missed when somebody files one, and never before: it is nobody's
//! warning in the middle of a rollback.

use super::Meaning;
use crate::config::env_file::is_variable_name;
use crate::config::file;
use crate::config::variables::look_up;
use crate::nouns::inventory::{GithubIssues, JiraProject, Tickets, Token};
use crate::nouns::secret::Secret;

impl Meaning<'_, '_, '_> {
    pub(super) fn tickets(&mut self, tickets: &file::TicketsTable) -> Option<Tickets> {
        let github = tickets.github.as_ref().map(|table| self.github(table));
        let jira = tickets.jira.as_ref().map(|table| self.jira(table));
        Some(Tickets {
            github: match github {
                Some(github) => Some(github?),
                None => None,
            },
            jira: match jira {
                Some(jira) => Some(jira?),
                None => None,
            },
        })
    }

    fn github(&mut self, table: &file::GithubTable) -> Option<GithubIssues> {
        let path = "tickets.github";
        let token = self.token(path, "GITHUB_TOKEN", table.token_env.as_ref()?);
        let url = self.base_url(path, &table.url, "https://api.github.com");
        let repository = table.repository.as_ref()?;
        let is_part = |part: &str| {
            let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(is_fine) && part != "." && part != ".."
        };
        if !repository.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name)) {
            self.wrong(&format!("{path}.repository"), format!("{repository:?} is no repository")).hint =
                Some("for example \"example/listings\"".into());
            return None;
        }
        Some(GithubIssues { repository: repository.clone(), token: token?, url: url? })
    }

    fn jira(&mut self, table: &file::JiraTable) -> Option<JiraProject> {
        let path = "tickets.jira";
        let token = self.token(path, "JIRA_TOKEN", table.token_env.as_ref()?);
        table.url.as_ref()?;
        let url = self.base_url(path, &table.url, "");
        let project = self.text(&format!("{path}.project"), table.project.as_ref()?);
        let issue_type = self.text(&format!("{path}.issue_type"), &table.issue_type);
        let user = match &table.user {
            // What a name and a password are told apart by.
            Some(user) if user.contains(':') => {
                self.wrong(&format!("{path}.user"), "has a colon in it");
                return None;
            }
            Some(user) => Some(self.text(&format!("{path}.user"), user)?),
            None => None,
        };
        Some(JiraProject { url: url?, project: project?, issue_type: issue_type?, user, token: token? })
    }

    fn token(&mut self, path: &str, example: &str, env: &str) -> Option<Token> {
        if !is_variable_name(env) {
            self.wrong(&format!("{path}.token_env"), "is not the name of a variable").hint =
                Some(format!("for example {example:?}, without the $"));
            return None;
        }
        let secret = look_up(self.reading.variable, env).ok();
        let secret = secret.filter(|value| !value.chars().any(char::is_control));
        Some(Token { env: env.to_owned(), secret: secret.map(|value| Secret::new(value.trim().to_owned())) })
    }
}
