//! Lines of item details, and the same bytes as the body of one item.

use model::event::check_item;

use super::read;

/// Whatever is taken keeps the rules; every line that holds something is taken or refused.
pub fn item_lines(input: &[u8]) {
    if let Ok(details) = read::one(input, "item") {
        assert_eq!(details.check(), Ok(()));
    }
    let Ok(list) = read::lines(input) else { return };
    for change in &list.changes {
        assert_eq!(check_item(&change.item), Ok(()));
        assert_eq!(change.details.as_ref().map(|details| details.check()), Some(Ok(())));
    }
    let body = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    let lines = body.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
    assert_eq!(list.changes.len() + list.rejections.len(), lines);
    assert!(list.rejections.is_sorted_by(|a, b| a.index < b.index));
}
