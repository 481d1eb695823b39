//! A list as it comes, page by page, with a bound on what is kept of it.

use serde_json::{Map, Value, json};

use super::cache::metadata;
use super::client::Detail;
use super::collection::Collection;
use super::fault::ApiFault;

/// Objects of one page.
const PAGE_OBJECTS: usize = 250;

/// Pages of one list.
const PAGES_MAX: usize = 1000;

/// Bytes of all objects of a collection that are kept, as text.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Bytes of one object.
pub(super) const OBJECT_BYTES_MAX: usize = 512 << 10;

/// Bytes of the status that is kept of an object that is too large.
const STATUS_BYTES_MAX: usize = 32 << 10;

/// Where an object says that it is too large, in place of what is in it.
const TOO_LARGE: &str = "isTooLarge";

/// A list of which not everything has come yet.
#[derive(Debug)]
pub(super) struct Listing {
    collection: Collection,
    objects: Vec<(Value, usize)>,
    bytes: usize,
    version: String,
    token: String,
    page_objects: usize,
    pages: usize,
    is_partial: bool,
}

/// A list.
#[derive(Debug)]
pub(super) struct Listed {
    /// Objects with their bytes.
    pub(super) objects: Vec<(Value, usize)>,
    /// Where a watch begins.
    pub(super) version: String,
    /// Whether there are more than are kept.
    pub(super) is_partial: bool,
}

impl Listing {
    pub(super) fn new(collection: Collection) -> Self {
        Self {
            collection,
            objects: Vec::new(),
            bytes: 0,
            version: String::new(),
            token: String::new(),
            page_objects: PAGE_OBJECTS,
            pages: 0,
            is_partial: false,
        }
    }

    /// What is asked for next.
    pub(super) fn query(&self, path: &str) -> String {
        let mut query = format!(
            "{path}?limit={}{}",
            self.page_objects,
            self.collection.selector()
        );
        if !self.token.is_empty() {
            query.push_str("&continue=");
            query.push_str(&encoded(&self.token));
        }
        query
    }

    /// Asks for less, because a page was too large. Returns whether there is less to ask for.
    pub(super) fn shrink(&mut self) -> bool {
        let is_less = self.page_objects > 1;
        self.page_objects = self.page_objects.div_ceil(2).max(1);
        is_less
    }

    /// Takes a page. Returns whether it is the last one that is needed.
    pub(super) fn take(&mut self, mut page: Value) -> Result<bool, ApiFault> {
        let text = |key: &str| metadata(&page, key).unwrap_or_default().to_owned();
        let (version, token) = (text("resourceVersion"), text("continue"));
        let items = match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            // As the API server writes an empty list of metadata.
            Some(Value::Null) => Vec::new(),
            _ => return Err(ApiFault::Answer("a list without items")),
        };
        if version.is_empty() {
            return Err(ApiFault::Answer("a list without a version"));
        }
        for item in items {
            let (item, bytes) = fitted(item, self.collection.detail());
            let is_full = self.objects.len() >= self.collection.objects_max()
                || self.bytes + bytes > BYTES_MAX;
            if is_full {
                self.is_partial = true;
                break;
            }
            self.bytes += bytes;
            self.objects.push((item, bytes));
        }
        self.pages += 1;
        // One object was large; those after it need not be.
        self.page_objects = (self.page_objects * 2).min(PAGE_OBJECTS);
        (self.version, self.token) = (version, token);
        self.is_partial |= !self.token.is_empty() && self.pages >= PAGES_MAX;
        Ok(self.token.is_empty() || self.is_partial)
    }

    pub(super) fn finish(self) -> Listed {
        Listed {
            objects: self.objects,
            version: self.version,
            is_partial: self.is_partial,
        }
    }
}

/// An object without what nobody here reads, and its bytes. Of one that is too large only who it is remains, so that it can be
/// told.
pub(super) fn fitted(object: Value, detail: Detail) -> (Value, usize) {
    let mut object = slim(object, detail);
    let mut bytes = object.to_string().len();
    if bytes > OBJECT_BYTES_MAX {
        object = stub(&object);
        bytes = object.to_string().len();
    }
    (object, bytes)
}

/// Whether nothing but its name is known of an object, because it is too large.
pub(super) fn is_too_large(object: &Value) -> bool {
    object.get(TOO_LARGE).is_some()
}

fn stub(object: &Value) -> Value {
    let kept = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    ];
    let about = kept.iter().filter_map(|key| {
        let value = object.get("metadata")?.get(key)?;
        Some(((*key).to_owned(), value.clone()))
    });
    let mut stub = json!({TOO_LARGE: true, "metadata": about.collect::<Map<_, _>>()});
    for key in ["apiVersion", "kind", "status"] {
        if let Some(value) = object.get(key)
            && value.to_string().len() <= STATUS_BYTES_MAX
        {
            stub[key] = value.clone();
        }
    }
    stub
}

/// Where a server sends more than names and versions, the rest is forgotten at once.
fn slim(mut object: Value, detail: Detail) -> Value {
    match detail {
        Detail::Whole => {
            if let Value::Object(fields) = &mut object {
                // It is said by us alone.
                fields.remove(TOO_LARGE);
            }
            if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
                metadata.remove("managedFields");
            }
            object
        }
        Detail::Metadata => {
            let text = |key| metadata(&object, key).unwrap_or_default();
            json!({"metadata": {"name": text("name"), "resourceVersion": text("resourceVersion")}})
        }
    }
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::collection::{Group, Kind};

    const LISTENERS: Collection = Collection::Resources(Group::Own, Kind::Listener);

    fn page(names: &[String], text: &str, token: &str) -> Value {
        let items = names
            .iter()
            .map(|name| json!({"metadata": {"name": name}, "spec": {"text": text}}));
        json!({
            "metadata": {"resourceVersion": "7", "continue": token},
            "items": items.collect::<Vec<_>>(),
        })
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn pages_follow_each_other_by_their_tokens() {
        let mut listing = Listing::new(LISTENERS);
        assert_eq!(listing.query("/p"), "/p?limit=250");
        assert_eq!(listing.take(page(&names(2), "", "a+/=&b")), Ok(false));
        assert_eq!(listing.query("/p"), "/p?limit=250&continue=a%2B%2F%3D%26b");
        assert_eq!(listing.take(page(&names(1), "", "")), Ok(true));
        let listed = listing.finish();
        assert_eq!(listed.objects.len(), 3);
        assert_eq!((&*listed.version, listed.is_partial), ("7", false));
    }

    #[test]
    fn a_list_that_does_not_end_is_cut_off() {
        let mut listing = Listing::new(LISTENERS);
        let mut pages = 0;
        while !listing.take(page(&names(100), "", "more")).unwrap() {
            pages += 1;
            assert!(pages < 10);
        }
        let listed = listing.finish();
        assert!(listed.is_partial);
        assert_eq!(listed.objects.len(), LISTENERS.objects_max());

        // Pages with nothing in them do not go on for ever either.
        let mut listing = Listing::new(LISTENERS);
        let mut pages = 1;
        while !listing.take(page(&[], "", "more")).unwrap() {
            pages += 1;
            assert!(pages <= PAGES_MAX);
        }
        assert!(listing.finish().is_partial);
    }

    #[test]
    fn bytes_are_bounded_over_all_pages() {
        let text = "x".repeat(OBJECT_BYTES_MAX / 2);
        let mut listing = Listing::new(LISTENERS);
        while !listing.take(page(&names(3), &text, "more")).unwrap() {}
        let listed = listing.finish();
        assert!(listed.is_partial);
        let bytes: usize = listed.objects.iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX / 2, "{bytes}");
    }

    #[test]
    fn of_an_object_that_is_too_large_its_name_remains() {
        let text = "x".repeat(OBJECT_BYTES_MAX);
        let mut large = json!({
            "apiVersion": "g/v1",
            "metadata": {"name": "a", "uid": "u", "generation": 3, "labels": {"l": text}},
            "spec": {"text": text},
            "status": {"conditions": []},
        });
        let (stub, bytes) = fitted(large.clone(), Detail::Whole);
        assert!(is_too_large(&stub) && bytes < 1000);
        assert_eq!(metadata(&stub, "uid"), Some("u"));
        assert_eq!(stub["metadata"]["generation"], 3);
        assert_eq!(stub["status"], json!({"conditions": []}));
        assert!(stub.get("spec").is_none());
        large["spec"] = json!({});
        large["metadata"]["labels"] = json!({});
        large[TOO_LARGE] = json!(true);
        assert!(!is_too_large(&fitted(large, Detail::Whole).0));
    }

    #[test]
    fn pages_shrink_to_one_object_and_grow_again() {
        let mut listing = Listing::new(LISTENERS);
        let mut times = 0;
        while listing.shrink() {
            times += 1;
        }
        assert_eq!(times, 8);
        assert_eq!(listing.query("/p"), "/p?limit=1");
        assert_eq!(listing.take(page(&names(1), "", "t")), Ok(false));
        assert_eq!(listing.query("/p"), "/p?limit=2&continue=t");
    }

    #[test]
    fn of_secrets_nothing_but_names_is_kept() {
        let secret =
            json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "djE="}});
        let (slim, _) = fitted(secret, Detail::Metadata);
        assert_eq!(
            slim,
            json!({"metadata": {"name": "a", "resourceVersion": "7"}})
        );
    }
}
