//! `.env.deploy`: names and values, and what counts as a variable's name in the config.
//! Never expands, runs or shows a value: what stands in the file is what the variable holds.

/// Names and values.
pub type EnvFile = Vec<(String, String)>;

/// The names and values in their order; a later one of the same name wins where they are looked up.
///
/// Takes `KEY=VALUE`, `export KEY=VALUE`, `'as it stands'`, `"with \n \" escapes"`, `# comments`.
///
/// # Errors
/// Every line that is none of these: its number, from 1, and why. No value is quoted.
pub fn parse_env_file(text: &str) -> Result<EnvFile, Vec<(usize, String)>> {
    let mut variables = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match parse_line(line.trim()) {
            Ok(found) => variables.extend(found),
            Err(why) => problems.push((index + 1, why)),
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let assignment = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    // Nothing of the line is quoted back unless it is a name: it may be half of a secret.
    let (name, value) = assignment.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim_end();
    if !is_variable_name(name) {
        return Err("the part before = is not the name of a variable (letters, digits, underscores)".into());
    }
    let value = parse_value(value.trim_start()).map_err(|why| format!("{name}: {why}"))?;
    if value.contains('\0') {
        return Err(format!("{name}: no variable can hold a NUL"));
    }
    Ok(Some((name.into(), value)))
}

fn parse_value(text: &str) -> Result<String, &'static str> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => text[1..].split_once('\'').map(|(value, rest)| (value.to_owned(), rest)).ok_or(UNCLOSED)?,
        Some('"') => parse_double_quoted(&text[1..])?,
        _ => return Ok(unquoted(text).to_owned()),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err("something follows the closing quote") }
}

const UNCLOSED: &str = "the quote is not closed on its line";

/// The value and what follows its closing quote.
fn parse_double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[index + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$' | '`'))) => value.push(c),
                // As a shell does: a backslash before any other character is itself.
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err(UNCLOSED),
            },
            c => value.push(c),
        }
    }
    Err(UNCLOSED)
}

/// Up to a comment: `#` begins one after white space only, so that `https://x/#a` stays whole.
fn unquoted(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|&(index, c)| c == '#' && text[..index].chars().next_back().is_none_or(char::is_whitespace));
    text[..comment.map_or(text.len(), |(index, _)| index)].trim_end()
}

/// Letters, digits and underscores, not beginning with a digit.
pub(super) fn is_variable_name(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_digit())
        && !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `$NAME`, and nothing else, stands for the variable NAME.
pub(super) fn variable_of(text: &str) -> Option<&str> {
    text.strip_prefix('$').filter(|name| is_variable_name(name))
}
