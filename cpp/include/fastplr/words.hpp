// What explanations are made of: the words and phrases of a text.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fastplr {

/// Bytes [begin, end) of a text in UTF-8.
struct TextSpan {
    std::size_t begin = 0;
    std::size_t end = 0;

    bool operator==(const TextSpan&) const = default;
};

/// The words of a text, in order: every character but white space is in exactly one.
///
/// After the word boundaries of Unicode's UAX #29, with hyphens joining: letters, digits and marks together,
/// across one apostrophe, hyphen, full stop, middle dot or underscore between two of them, and a comma
/// between digits
/// ("don't", "well-made", "3.5", "1,000"); each Chinese character; a run of hiragana or of katakana; an emoji
/// with all that belongs to it; any other character, and equal ones that follow it ("..."). Scripts that put
/// no space between words (Thai, Lao, Khmer, Burmese) are not cut.
///
/// \param text well-formed UTF-8; bytes that are not count as characters of no kind.
std::vector<TextSpan> words_of(const std::string& text);

/// Words put together to phrases, in order and without overlap; each is from the beginning of its first word
/// to the end of its last.
///
/// A phrase ends with punctuation, which belongs to what is before it. What is longer than `kWordsPerPhrase`
/// words is cut into as few parts as that allows, where the next word is shortest among those within a word
/// of an equal share: short words (articles, prepositions, conjunctions) begin a phrase more often than they
/// end one.
std::vector<TextSpan> phrases_of(const std::string& text, const std::vector<TextSpan>& words);

inline constexpr std::size_t kWordsPerPhrase = 5;

}  // namespace fastplr
