//! What a Prometheus answered, and what follows from that. No sample, more than one, NaN, an error, no answer: all of it is
//! no data, and said.
//!
//! The answers are those of its HTTP API: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{…},
//! "value":[1435781451.781,"1"]}]}}`, where values are texts, and may be `NaN` or `+Inf`.

use serde::Deserialize;

use super::interval::Counted;
use crate::nouns::inventory::{Asks, Query};
use crate::nouns::rules::{Finding, Opinion};
use crate::nouns::units::grouped;

/// So many bad ones are the least that anything is called bad by.
const LEAST_BAD: u64 = 5;
/// A value that is over its limit once is a moment; so many looks in a row are none.
const TIMES: u32 = 2;

#[derive(Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: serde_json::Value,
    #[serde(rename = "resultType", default)]
    kind: String,
}

/// The series of an answer: the labels of each, and its value.
///
/// # Errors
/// What is wrong with it.
fn series(answer: &str) -> Result<Vec<(serde_json::Value, f64)>, String> {
    let envelope: Envelope = serde_json::from_str(answer).map_err(|_| "it answers no JSON of its API".to_owned())?;
    if envelope.status != "success" {
        return Err(format!("it says: {}", envelope.error));
    }
    let data = envelope.data.ok_or("it answers without data")?;
    let value = |pair: &serde_json::Value| pair[1].as_str().and_then(|text| text.replace("Inf", "inf").parse().ok());
    match (data.kind.as_str(), data.result.as_array()) {
        ("scalar", Some(_)) => {
            Ok(value(&data.result).map(|value| (serde_json::Value::Null, value)).into_iter().collect())
        }
        ("vector", Some(all)) => {
            let of = |one: &serde_json::Value| Some((one["metric"].clone(), value(&one["value"])?));
            Ok(all.iter().filter_map(of).collect())
        }
        (kind, _) => Err(format!("the query gives a {kind}, and no number")),
    }
}

/// The one number of an answer; `None` where there is no sample, or one that is no number.
///
/// # Errors
/// What is wrong with it.
pub fn number(answer: &str) -> Result<Option<f64>, String> {
    let series = series(answer)?;
    match series.as_slice() {
        [] => Ok(None),
        [(_, value)] => Ok(Some(*value).filter(|value| !value.is_nan())),
        several => Err(format!("the query gives {} series, and not one number: sum() would", several.len())),
    }
}

/// The names of alerts that fire.
///
/// # Errors
/// What is wrong with the answer.
pub fn firing(answer: &str) -> Result<Vec<String>, String> {
    let name =
        |(labels, _): (serde_json::Value, f64)| labels["alertname"].as_str().unwrap_or("one without a name").to_owned();
    let mut names: Vec<String> = series(answer)?.into_iter().map(name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The query for alerts of these labels, in braces, that fire.
pub fn alerts_query(labels: &str) -> String {
    let inner = labels.trim_start_matches('{').trim_end_matches('}').trim().trim_end_matches(',');
    let comma = if inner.is_empty() { "" } else { "," };
    format!("ALERTS{{alertstate=\"firing\"{comma}{inner}}}")
}

/// What is said of alerts.
pub fn of_alerts(answer: Result<Vec<String>, String>) -> Finding {
    let finding = |opinion, words: String| Finding { rule: "alerts".to_owned(), opinion, words };
    match answer {
        Err(why) => finding(Opinion::NotEnoughData, format!("alerts: no data: {why}")),
        Ok(names) if names.is_empty() => finding(Opinion::Good, "alerts: none fires".to_owned()),
        Ok(names) => finding(Opinion::Bad, format!("alerts: {} fires: bad", names.join(", "))),
    }
}

/// What is said of a query by its one or two numbers; `over` is how often in a row its value was over its limit before.
pub fn of_query(query: &Query, numbers: &[Result<Option<f64>, String>], over: &mut u32) -> Finding {
    let name = &query.name;
    let finding = |opinion, words: String| Finding { rule: name.clone(), opinion, words: format!("{name}: {words}") };
    let known: Result<Vec<f64>, String> = numbers
        .iter()
        .map(|number| number.clone().and_then(|number| number.ok_or_else(|| "there is no sample".to_owned())))
        .collect();
    let known = match known {
        Ok(known) => known,
        Err(why) => {
            *over = 0;
            return finding(Opinion::NotEnoughData, format!("no data: {why}"));
        }
    };
    match (&query.asks, known.as_slice()) {
        (Asks::Share { most, .. }, [bad, of]) => {
            let count = |number: &f64| number.round().clamp(0.0, 1e15) as u64;
            let counted = Counted { bad: count(bad).min(count(of)), of: count(of) };
            let Some(between) = counted.interval() else {
                return finding(Opinion::NotEnoughData, "no data: 0 of 0".to_owned());
            };
            let share = counted.share().unwrap_or_default() * 100.0;
            let words = format!(
                "{share:.1} % of {} (95 %: {:.1}–{:.1}), limit {} %",
                grouped(counted.of),
                between.low * 100.0,
                between.high * 100.0,
                most * 100.0
            );
            if between.low > *most && counted.bad >= LEAST_BAD {
                finding(Opinion::Bad, format!("{words}: bad"))
            } else if between.high < *most {
                finding(Opinion::Good, words)
            } else {
                finding(Opinion::NotEnoughData, format!("{words}: not enough data"))
            }
        }
        (Asks::Value { most, .. }, [value]) => {
            *over = if value > most { *over + 1 } else { 0 };
            match *over {
                0 => finding(Opinion::Good, format!("{value}, limit {most}")),
                times if times >= TIMES => {
                    finding(Opinion::Bad, format!("{value}, {times} times in a row: bad, limit {most}"))
                }
                _ => finding(Opinion::NotEnoughData, format!("{value}, limit {most}: over it for a moment")),
            }
        }
        _ => finding(Opinion::NotEnoughData, "no data".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[&str]) -> String {
        let series: Vec<String> = values
            .iter()
            .map(|value| format!(r#"{{"metric":{{"alertname":"A{value}"}},"value":[1435781451.781,"{value}"]}}"#))
            .collect();
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(","))
    }

    #[test]
    fn what_is_no_number_is_no_data() {
        assert_eq!(number(&vector(&["12.5"])), Ok(Some(12.5)));
        assert_eq!(number(&vector(&[])), Ok(None));
        assert_eq!(number(&vector(&["NaN"])), Ok(None));
        assert_eq!(number(&vector(&["+Inf"])), Ok(Some(f64::INFINITY)));
        assert!(number(&vector(&["1", "2"])).expect_err("two").contains("2 series"));
        assert!(number("<html>login</html>").expect_err("a page").contains("no JSON"));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(number(refused), Err("it says: parse error".to_owned()));
        assert_eq!(number(r#"{"status":"success","data":{"resultType":"scalar","result":[1.0,"3"]}}"#), Ok(Some(3.0)));
        assert!(number(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).is_err());
        assert_eq!(firing(&vector(&["1", "1", "2"])), Ok(vec!["A1".to_owned(), "A2".to_owned()]));
        assert_eq!(alerts_query("{a=\"b\",}"), "ALERTS{alertstate=\"firing\",a=\"b\"}");
        assert_eq!(alerts_query("{}"), "ALERTS{alertstate=\"firing\"}");
    }

    #[test]
    fn a_limit_is_broken_by_what_cannot_be_chance() {
        let asks = Asks::Share { bad: String::new(), of: String::new(), most: 0.05 };
        let query = Query { name: "errors".to_owned(), asks };
        let said = |bad: f64, of: f64| of_query(&query, &[Ok(Some(bad)), Ok(Some(of))], &mut 0).opinion;
        assert_eq!(said(4.0, 4.0), Opinion::NotEnoughData);
        assert_eq!(said(60.4, 400.0), Opinion::Bad);
        assert_eq!(said(1.0, 400.0), Opinion::Good);
        assert_eq!(said(0.0, 0.0), Opinion::NotEnoughData);
        assert_eq!(of_query(&query, &[Ok(Some(1.0)), Ok(None)], &mut 0).opinion, Opinion::NotEnoughData);
        let query = Query { name: "queue".to_owned(), asks: Asks::Value { expr: String::new(), most: 10.0 } };
        let mut over = 0;
        let mut look = |value: f64| of_query(&query, &[Ok(Some(value))], &mut over).opinion;
        assert_eq!(look(11.0), Opinion::NotEnoughData);
        assert_eq!(look(9.0), Opinion::Good);
        assert_eq!(look(11.0), Opinion::NotEnoughData);
        assert_eq!(look(f64::INFINITY), Opinion::Bad);
    }
}
