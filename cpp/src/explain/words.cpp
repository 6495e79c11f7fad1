#include "fastplr/words.hpp"

#include <algorithm>
#include <cstdint>

#include "explain/characters.hpp"

namespace fastplr {
namespace {

bool in(std::uint32_t code, std::uint32_t first, std::uint32_t last) { return first <= code && code <= last; }

/// Characters of scripts in which each one, or a run of one kind, counts as a word.
enum class Script { other, han, hiragana, katakana };

Script script_of(std::uint32_t code) {
    if (in(code, 0x3041, 0x309F)) return Script::hiragana;
    if (in(code, 0x30A1, 0x30FF) || in(code, 0x31F0, 0x31FF) || in(code, 0xFF66, 0xFF9F))
        return Script::katakana;
    if (in(code, 0x3400, 0x4DBF) || in(code, 0x4E00, 0x9FFF) || in(code, 0xF900, 0xFAFF) ||
        in(code, 0x20000, 0x323AF) || code == 0x3005 || code == 0x3007)
        return Script::han;
    return Script::other;
}

constexpr std::uint32_t kZeroWidthJoiner = 0x200D, kKeycap = 0x20E3;

bool is_variation(std::uint32_t code) { return in(code, 0xFE00, 0xFE0F) || in(code, 0xE0100, 0xE01EF); }
bool is_skin_tone(std::uint32_t code) { return in(code, 0x1F3FB, 0x1F3FF); }
bool is_tag(std::uint32_t code) { return in(code, 0xE0020, 0xE007F); }
bool is_regional(std::uint32_t code) { return in(code, 0x1F1E6, 0x1F1FF); }
/// Invisible characters that change how their neighbours are written, such as marks of direction.
bool is_format(std::uint32_t code) {
    return code == 0xAD || code == 0x61C || in(code, 0x200C, 0x200F) || in(code, 0x202A, 0x202E) ||
           in(code, 0x2060, 0x2064) || in(code, 0x2066, 0x2069) || code == 0xFEFF;
}

/// What belongs to the character before it, whatever that is.
bool extends(std::uint32_t code) {
    return is_mark(code) || is_variation(code) || is_skin_tone(code) || is_tag(code) || is_format(code) ||
           code == kKeycap;
}

bool is_wordy(std::uint32_t code) { return is_letter(code) || is_number(code) || code == '_'; }

bool joins(std::uint32_t code, std::uint32_t before, std::uint32_t after) {
    if (!is_wordy(before) || !is_wordy(after)) return false;
    switch (code) {
        case '\'':
        case '-':
        case '.':
        case 0xB7:    // middle dot
        case 0x2BC:   // modifier apostrophe
        case 0x2010:  // hyphen
        case 0x2011:  // that does not break
        case 0x2019:  // right quotation mark
        case 0x5F3:   // geresh
        case 0x5F4:   // gershayim
            return true;
        case ',':
            return is_number(before) && is_number(after);
        default:
            return false;
    }
}

/// One past the last character of the word that begins at `i`.
std::size_t end_of_word(const std::vector<Character>& text, std::size_t i) {
    const auto code = [&](std::size_t k) { return k < text.size() ? text[k].code : 0; };
    const auto skip_extending = [&](std::size_t k) {
        while (k < text.size() && extends(code(k))) ++k;
        return k;
    };
    if (is_format(code(i))) {  // it changes what follows
        const std::size_t next = skip_extending(i);
        return next < text.size() && !is_space(code(next)) ? end_of_word(text, next) : next;
    }
    if (is_wordy(code(i)) || is_mark(code(i))) {
        const Script script = script_of(code(i));
        std::size_t last = i;  // the last letter or digit
        std::size_t k = skip_extending(i + 1);
        while (k < text.size() && script != Script::han) {
            if (is_wordy(code(k)) && script_of(code(k)) == script) {
                last = k;
                k = skip_extending(k + 1);
            } else if (joins(code(k), code(last), code(k + 1)) && script == Script::other &&
                       script_of(code(k + 1)) == script) {
                last = k + 1;
                k = skip_extending(k + 2);
            } else {
                break;
            }
        }
        return k;
    }
    if (is_regional(code(i)) && is_regional(code(i + 1))) return skip_extending(i + 2);
    std::size_t k = i + 1;
    const auto extend_emoji = [&] {
        while (k < text.size() && (extends(code(k)) || code(k) == kZeroWidthJoiner)) {
            const bool joined = code(k) == kZeroWidthJoiner;
            ++k;
            if (joined && k < text.size() && !is_space(code(k)) && !is_wordy(code(k))) ++k;
        }
    };
    extend_emoji();
    while (code(k) == code(i) && k < text.size()) {
        ++k;
        extend_emoji();
    }
    return k;
}

bool is_punctuation_word(const std::string& text, const TextSpan& word) {
    const auto characters = characters_of(text.substr(word.begin, word.end - word.begin));
    return std::all_of(characters.begin(), characters.end(),
                       [](const Character& one) { return is_punctuation(one.code); });
}

/// Punctuation that stands before what it belongs to.
bool opens(const std::string& text, const TextSpan& word) {
    const auto first = characters_of(text.substr(word.begin, word.end - word.begin)).front().code;
    return first == '(' || first == '[' || first == '{' || first == 0xAB || first == 0xBF || first == 0xA1 ||
           first == 0x2018 || first == 0x201C || first == 0x201E || in(first, 0x3008, 0x3010) ||
           first == '#' || first == '@';
}

}  // namespace

std::vector<TextSpan> words_of(const std::string& text) {
    const std::vector<Character> characters = characters_of(text);
    std::vector<TextSpan> words;
    for (std::size_t i = 0; i < characters.size();) {
        if (is_space(characters[i].code)) {
            ++i;
            continue;
        }
        const std::size_t end = end_of_word(characters, i);
        words.push_back({characters[i].begin, characters[end - 1].end});
        i = end;
    }
    return words;
}

std::vector<TextSpan> phrases_of(const std::string& text, const std::vector<TextSpan>& words) {
    std::vector<std::size_t> begins;  // of clauses, as numbers of words
    bool closed = true;
    bool opened = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const bool mark = is_punctuation_word(text, words[i]);
        const bool opening = mark && opens(text, words[i]);
        // Punctuation at the beginning, or that opens, stays with what follows it.
        if ((closed && (!mark || begins.empty())) || (opening && !opened)) begins.push_back(i);
        closed = mark && !opening && !(begins.back() == i);
        opened = opening;
    }
    begins.push_back(words.size());
    const auto length = [&](std::size_t word) {
        return characters_of(text.substr(words[word].begin, words[word].end - words[word].begin)).size();
    };
    std::vector<TextSpan> phrases;
    for (std::size_t c = 0; c + 1 < begins.size(); ++c) {
        std::size_t first = begins[c];
        const std::size_t end = begins[c + 1];
        // Words, not the marks that end a clause, make it long.
        const auto words_in = [&](std::size_t from, std::size_t to) {
            std::size_t n = 0;
            for (std::size_t i = from; i < to; ++i) n += is_punctuation_word(text, words[i]) ? 0 : 1;
            return n;
        };
        for (std::size_t n_words = words_in(first, end); first < end;) {
            std::size_t next = end;
            if (n_words > kWordsPerPhrase) {
                const std::size_t parts = (n_words + kWordsPerPhrase - 1) / kWordsPerPhrase;
                const std::size_t share = (n_words + parts - 1) / parts;
                next = first + share;
                for (const std::size_t other : {share - 1, share + 1}) {
                    const bool fits = other > 0 && other <= kWordsPerPhrase &&
                                      n_words - other <= (parts - 1) * kWordsPerPhrase;
                    if (fits && first + other < end && length(first + other) < length(next))
                        next = first + other;
                }
            }
            phrases.push_back({words[first].begin, words[next - 1].end});
            n_words -= words_in(first, next);
            first = next;
        }
    }
    return phrases;
}

}  // namespace fastplr
