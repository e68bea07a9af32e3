//! Two kinds of paging: opaque tokens bound to their query, and page numbers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::faults::Fault;
use super::parameters::{Parameters, invalid};
use super::refusal::Refusal;
use super::signature;

/// Parameters that say which page, not what is asked.
const PAGING: [&str; 4] = ["MaxResults", "NextToken", "PageNumber", "PageSize"];
/// Page size when none is asked for.
const USUAL: usize = 10;

/// The bounds of an action's pages.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// `MaxResults` is clamped to this.
    pub(crate) token: usize,
    /// `PageSize` beyond this is refused.
    pub(crate) number: usize,
    /// Items in all pages together.
    pub(crate) total: usize,
}

/// Which page is asked for.
pub(crate) enum Page {
    Token { size: usize, after: String, seen: usize, query: String },
    Number { number: usize, size: usize },
}

/// One page of items.
pub(crate) struct Cut<T> {
    pub(crate) items: Vec<T>,
    pub(crate) token: Option<String>,
    pub(crate) number: usize,
    pub(crate) size: usize,
    /// In token mode always 0: there the real figure means nothing, and a client that trusts it must fail.
    pub(crate) total: usize,
}

impl Page {
    /// The server chooses: tokens as soon as one of their parameters is there, else page numbers.
    pub(crate) fn new(parameters: &Parameters, bounds: Bounds) -> Result<Self, Refusal> {
        let most = parameters.clamped("MaxResults", USUAL.min(bounds.token)..=bounds.token)?;
        let token = parameters.get("NextToken");
        if most.is_none() && token.is_none() {
            return Self::numbered(parameters, bounds.number);
        }
        let query = signature::hash(parameters.identity(&PAGING).as_bytes());
        let query = query.get(..16).unwrap_or_default().to_owned();
        let (after, seen) = match token {
            None => (String::new(), 0),
            Some(token) => decode(token, &query).ok_or_else(|| invalid("NextToken", token))?,
        };
        Ok(Self::Token { size: most.unwrap_or(USUAL), after, seen, query })
    }

    /// Page numbers only, as the VPC product has them.
    pub(crate) fn numbered(parameters: &Parameters, most: usize) -> Result<Self, Refusal> {
        let number = parameters.number("PageNumber", 1..=usize::MAX)?.unwrap_or(1);
        let size = parameters.number("PageSize", 1..=most)?.unwrap_or(USUAL);
        Ok(Self::Number { number, size })
    }

    /// Cuts the page out of the items; `items_after` yields those whose id comes after the given one.
    pub(crate) fn cut<'a, T, I>(
        &self,
        bounds: Bounds,
        fault: Option<&Fault>,
        id: impl Fn(&T) -> &str,
        items_after: impl FnOnce(&str) -> I,
    ) -> Cut<&'a T>
    where
        T: 'a,
        I: Iterator<Item = &'a T>,
    {
        match self {
            Self::Number { number, size } => {
                let mut rest = items_after("").take(bounds.total);
                let skip = (number - 1).saturating_mul(*size);
                let skipped = rest.by_ref().take(skip).count();
                let items: Vec<&T> = rest.by_ref().take(*size).collect();
                let total = skipped + items.len() + rest.count();
                Cut { items, token: None, number: *number, size: *size, total }
            }
            Self::Token { size, after, seen, query } => {
                let encode = |after: &str, seen: usize| Some(encode(query, after, seen));
                let cut = |items, token| Cut { items, token, number: 0, size: *size, total: 0 };
                if fault == Some(&Fault::EmptyPage) {
                    return cut(Vec::new(), encode(after, *seen));
                }
                let left = bounds.total.saturating_sub(*seen);
                let mut rest = items_after(after).take(left);
                let items: Vec<&T> = rest.by_ref().take(*size).collect();
                let more = rest.next().is_some() || fault == Some(&Fault::EndlessToken);
                let token = match items.last() {
                    Some(last) if more => encode(id(last), seen + items.len()),
                    // A new text each time, so that a client cannot see the end by comparing.
                    None if more => encode(after, seen + 1),
                    _ => None,
                };
                cut(items, token)
            }
        }
    }
}

fn encode(query: &str, after: &str, seen: usize) -> String {
    BASE64.encode(format!("{query}/{seen}/{after}"))
}

fn decode(token: &str, query: &str) -> Option<(String, usize)> {
    let text = String::from_utf8(BASE64.decode(token).ok()?).ok()?;
    let (bound, rest) = text.split_once('/')?;
    let (seen, after) = rest.split_once('/')?;
    (bound == query).then_some(())?;
    Some((after.to_owned(), seen.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aliyun::parameters::decode_pairs;

    const BOUNDS: Bounds = Bounds { token: 500, number: 1000, total: usize::MAX };

    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("id-{n:05}")).collect()
    }

    fn cut(
        ids: &[String],
        query: &str,
        bounds: Bounds,
    ) -> Result<(Vec<String>, Option<String>, usize), Refusal> {
        let parameters = Parameters::new(decode_pairs(query));
        let page = Page::new(&parameters, bounds)?;
        let cut = page.cut(bounds, None, String::as_str, |after| {
            let after = after.to_owned();
            ids.iter().filter(move |id| **id > after)
        });
        Ok((cut.items.into_iter().cloned().collect(), cut.token, cut.total))
    }

    #[test]
    fn following_the_tokens_yields_every_item_once() {
        let ids = ids(1_201);
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let query = format!("A=b&MaxResults=500&NextToken={token}");
            let (items, next, total) = cut(&ids, &query, BOUNDS).unwrap();
            assert_eq!(total, 0);
            seen.extend(items);
            match next {
                Some(next) => token = next,
                None => break,
            }
        }
        assert_eq!(seen, ids);
    }

    #[test]
    fn page_size_is_clamped_to_ten_and_five_hundred() {
        let ids = ids(600);
        assert_eq!(cut(&ids, "MaxResults=1", BOUNDS).unwrap().0.len(), 10);
        assert_eq!(cut(&ids, "MaxResults=9999", BOUNDS).unwrap().0.len(), 500);
        assert_eq!(cut(&ids, "", BOUNDS).unwrap().0.len(), 10);
    }

    #[test]
    fn a_token_of_another_query_is_refused() {
        let ids = ids(30);
        let token = cut(&ids, "A=b&MaxResults=10", BOUNDS).unwrap().1.unwrap();
        assert!(cut(&ids, &format!("A=c&MaxResults=10&NextToken={token}"), BOUNDS).is_err());
    }

    #[test]
    fn page_numbers_count_the_total_and_may_end_empty() {
        let ids = ids(25);
        let (items, token, total) = cut(&ids, "PageNumber=3&PageSize=10", BOUNDS).unwrap();
        assert_eq!((items.len(), token, total), (5, None, 25));
        assert_eq!(cut(&ids, "PageNumber=4", BOUNDS).unwrap().0.len(), 0);
    }

    #[test]
    fn a_capped_listing_ends_without_a_token() {
        let ids = ids(30);
        let capped = Bounds { total: 20, ..BOUNDS };
        let token = cut(&ids, "MaxResults=15", capped).unwrap().1.unwrap();
        let (items, next, _) = cut(&ids, &format!("MaxResults=15&NextToken={token}"), capped).unwrap();
        assert_eq!((items.len(), next), (5, None));
    }
}
