//! Questions that cost much, and are asked again and again.

use std::sync::Arc;

use api::ProblemCode;
use bytes::Bytes;
use engine::answers::Answers;
use engine::query::Query;
use model::TimeRange;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Failure;

/// A question by its parts, of which none ends where another begins.
pub(super) fn question(kind: &str, parts: &[&str]) -> Vec<u8> {
    let mut text = kind.as_bytes().to_vec();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    text
}

/// Answers off the async threads: with an answer that was given before where that is right, else with
/// what `make` makes. `finish` adds in either case what is no part of the counts.
pub(super) async fn ask_again<T: Serialize + DeserializeOwned + Send + 'static>(
    answers: &Arc<Answers>,
    question: Vec<u8>,
    range: TimeRange,
    make: impl Fn(&Query) -> Result<T, Failure> + Send + 'static,
    finish: impl FnOnce(&Query, &mut T) + Send + 'static,
) -> Result<T, Failure> {
    let answers = answers.clone();
    let answered = tokio::task::spawn_blocking(move || {
        let mut answer = answer(&answers, &question, range, make)?;
        finish(answers.query(), &mut answer);
        Ok(answer)
    });
    match answered.await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::new(ProblemCode::Internal, "answering the question failed")),
    }
}

/// As [`ask_again`], on this thread.
pub(super) fn answer<T: Serialize + DeserializeOwned>(
    answers: &Answers,
    question: &[u8],
    range: TimeRange,
    make: impl Fn(&Query) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !answers.are_kept() {
        return make(answers.query());
    }
    let mut made = None;
    let bytes = answers.answer(question, range, |query| {
        let answer = make(query)?;
        let bytes = serde_json::to_vec(&answer).expect("answers are plain data with text keys");
        made = Some(answer);
        Ok::<_, Failure>(Bytes::from(bytes))
    })?;
    match made {
        Some(answer) => Ok(answer),
        // What another version has left in a shared cache is made anew.
        None => serde_json::from_slice(&bytes).or_else(|_| make(answers.query())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_questions_have_different_texts() {
        assert_ne!(question("top", &["a", "b"]), question("top", &["ab", ""]));
        assert_ne!(question("top", &["a"]), question("top", &["a", ""]));
        assert_eq!(question("top", &["a"]), question("top", &["a"]));
    }
}
