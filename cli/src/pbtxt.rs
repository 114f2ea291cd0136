//! As much of protobuf's text format as it takes to compare what two configurations of Triton say of a model's tensors.

/// A field's value.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// A number, a word or a string, as it is written.
    Scalar(String),
    Message(Vec<(String, Value)>),
}

/// What a version of a model has to agree with. All else says how it is run.
const AGREED: [&str; 5] =
    ["backend", "default_model_filename", "max_batch_size", "input", "output"];

/// How the tensors of one configuration differ from those of another; `None` if they are the same.
///
/// # Errors
/// Where one of them is no text of a message.
pub(crate) fn difference(old: &str, new: &str) -> Result<Option<String>, String> {
    let (old, new) = (message(old)?, message(new)?);
    for field in AGREED {
        let told = |fields: &[(String, Value)]| -> Vec<String> {
            let ours = fields.iter().filter(|(name, _)| name == field);
            ours.map(|(_, value)| value.to_string()).collect()
        };
        let (old, new) = (told(&old), told(&new));
        for place in 0..old.len().max(new.len()) {
            let [old, new] =
                [&old, &new].map(|all| all.get(place).map_or("nothing", String::as_str));
            if old != new {
                return Ok(Some(format!("`{field}` is {old} there, and {new} now")));
            }
        }
    }
    Ok(None)
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scalar(text) => f.write_str(text),
            Self::Message(fields) => {
                // The order of repeated values counts, and that of different fields does not.
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| name.as_str());
                let fields = fields.iter().map(|(name, value)| format!("{name}: {value}"));
                write!(f, "{{ {} }}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn message(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    fields(&mut tokens, None, 0)
}

/// More than any configuration has.
const DEEPEST: usize = 100;

type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

/// The fields up to the end of a message.
fn fields(
    tokens: &mut Tokens,
    end: Option<&str>,
    depth: usize,
) -> Result<Vec<(String, Value)>, String> {
    if depth > DEEPEST {
        return Err(format!("there are more than {DEEPEST} messages in each other"));
    }
    let mut found = Vec::new();
    loop {
        let Some(name) = tokens.next() else {
            return if end.is_none() { Ok(found) } else { Err("a message has no end".into()) };
        };
        if Some(name.as_str()) == end {
            return Ok(found);
        }
        if name.starts_with(['{', '}', '<', '>', '[', ']', ':', '"', '\'']) {
            return Err(format!("`{name}` stands where a field begins"));
        }
        tokens.next_if(|token| token == ":");
        if tokens.next_if(|token| token == "[").is_none() {
            let value = value(tokens, depth)?;
            found.push((name, value));
            continue;
        }
        // A list is a short form of a field that is repeated.
        while tokens.next_if(|token| token == "]").is_none() {
            let value = value(tokens, depth)?;
            found.push((name.clone(), value));
        }
    }
}

fn value(tokens: &mut Tokens, depth: usize) -> Result<Value, String> {
    let token = tokens.next().ok_or("a field has no value")?;
    match token.as_str() {
        "{" => fields(tokens, Some("}"), depth + 1).map(Value::Message),
        "<" => fields(tokens, Some(">"), depth + 1).map(Value::Message),
        "}" | ">" | "[" | "]" | ":" => Err(format!("`{token}` stands where a value begins")),
        _ => Ok(Value::Scalar(token)),
    }
}

/// Signs, words and strings, without comments and the separators that may be left out.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|&(_, c)| {
                    let ends = c == first && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                end.ok_or("a string has no end")?.0 + 1
            }
            '{' | '}' | '<' | '>' | '[' | ']' | ':' | ',' | ';' => 1,
            _ => {
                let ends = |c: char| c.is_whitespace() || "{}<>[]:,;#\"'".contains(c);
                rest.find(ends).unwrap_or(rest.len())
            }
        };
        if !matches!(first, '#' | ',' | ';') {
            found.push(rest[..end].to_owned());
        }
        rest = rest[end..].trim_start();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "backend: \"a\"\nmax_batch_size: 8\ninput {\n  name: \"x } \\\" y\"\n  dims: -1\n  dims: 4\n}\n\
                          input { name: \"z\" dims: 1 }\ninstance_group { count: 1 }\n";

    #[test]
    fn another_way_to_write_it_is_no_difference() {
        let other = "# by hand\nmax_batch_size: 8; backend: \"a\" input: [ { dims: [ -1, 4 ], name: \"x } \\\" y\" },\n\
                     <name: \"z\" dims: [1]> ] instance_group [ { count: 7 } ]";
        assert_eq!(difference(CONFIG, other), Ok(None));
    }

    #[test]
    fn a_difference_is_named() {
        let rows = [
            ("dims: 4", "dims: 5", "`input` is { dims: -1, dims: 4,"),
            ("size: 8", "size: 9", "`max_batch_size` is 8 there, and 9 now"),
            ("input { name: \"z\" dims: 1 }", "", "and nothing now"),
        ];
        for (old, new, expected) in rows {
            let found = difference(CONFIG, &CONFIG.replace(old, new)).unwrap().unwrap();
            assert!(found.contains(expected), "{found}");
        }
        for broken in ["input {", "a: \"", "}", "a: [ ", "a:"] {
            assert!(difference(broken, CONFIG).is_err(), "{broken}");
        }
        assert!(difference(&"a{".repeat(1 << 20), CONFIG).unwrap_err().contains("more than"));
    }
}
