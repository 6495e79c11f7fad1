#include "embedding/token_windows.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <system_error>
#include <utility>

#include "embedding/text.hpp"

namespace fastplr {
namespace {

constexpr std::chrono::milliseconds kBetweenSteps{50};
constexpr std::size_t kTextsWorthAThread = 32;

struct Stopped {};

void append(TokenWindow& window, TokenWindow&& more) {
    std::move(more.texts.begin(), more.texts.end(), std::back_inserter(window.texts));
    window.positions.insert(window.positions.end(), more.positions.begin(), more.positions.end());
    window.truncated.insert(window.truncated.end(), more.truncated.begin(), more.truncated.end());
}

TokenizedText tokenize_text(const Tokenizer& tokenizer, const std::string& text, const EmbedRequest& request,
                            std::size_t n_ctx, std::size_t n_further, const std::string& name, bool& cut) {
    std::string kept;  // what is left of a text that is too long by its bytes alone
    const std::size_t n_bytes = bytes_to_tokenize(tokenizer, text, n_ctx + n_further, request.on_long, name);
    if (n_bytes < text.size()) {
        kept = text.substr(0, n_bytes);
        cut = true;
    }
    TokenizedText result = tokenizer.tokenize(cut ? kept : text, request.prompt);
    const std::size_t n = result.tokens.size();
    if (result.text_begin == result.text_end) {
        throw InputError(name + " " + shown(text) +
                         " has no tokens of its own in this model: expected text in" +
                         " characters that the model knows");
    }
    if (n > n_ctx) {
        const std::size_t own = result.text_end - result.text_begin;
        const bool prompted = !request.prompt.prefix.empty() || !request.prompt.suffix.empty();
        const std::string follow =
            n_further == 0 ? "" : ", " + std::to_string(n_further) + " of them for what follows the text";
        const std::string holds = "; the context holds " + std::to_string(n_ctx + n_further) + follow;
        const std::size_t surplus = n - n_ctx;
        if (own <= surplus) {
            const std::string what = prompted ? "the prompt takes " : "special tokens take ";
            throw InputError(what + std::to_string(n - own) + " tokens and leaves no room for " + name +
                             " with " + std::to_string(own) + " of its own" + holds +
                             (prompted ? ": shorten the prompt" : ""));
        }
        const std::string size =
            std::to_string(n) + " tokens" +
            (prompted ? " with the prompt, " + std::to_string(own) + " of its own" : "") + holds;
        if (request.on_long == OnLong::error) {
            throw InputError(name + " " + shown(text) + " is too long: " + size +
                             " (on_long='truncate' cuts the end of such texts)");
        }
        const auto end = result.tokens.begin() + static_cast<std::ptrdiff_t>(result.text_end);
        result.tokens.erase(end - static_cast<std::ptrdiff_t>(surplus), end);
        result.text_end -= surplus;
        cut = true;
    }
    return result;
}

}  // namespace

TokenWindow take_longer_than(std::size_t n_tokens, TokenWindow& window) {
    TokenWindow longer;
    TokenWindow rest;
    for (std::size_t i = 0; i < window.texts.size(); ++i) {
        TokenWindow& target = window.texts[i].tokens.size() > n_tokens ? longer : rest;
        target.texts.push_back(std::move(window.texts[i]));
        target.positions.push_back(window.positions[i]);
    }
    window.texts = std::move(rest.texts);
    window.positions = std::move(rest.positions);
    return longer;
}

std::size_t bytes_to_tokenize(const Tokenizer& tokenizer, const std::string& text, std::size_t n_ctx,
                              OnLong on_long, const std::string& name) {
    const bool error = on_long == OnLong::error;
    std::size_t n_bytes = text.size();
    // One token more than fits, so that what is left is cut as any other text.
    const std::size_t most = (n_ctx + 1) * tokenizer.longest_token();
    if (tokenizer.keeps_bytes() && n_bytes > most) {
        if (error) {
            throw InputError(name + " " + shown(text) + " is too long: " + std::to_string(n_bytes) +
                             " bytes; the context holds " + std::to_string(n_ctx) + " tokens, at most " +
                             std::to_string(most) + " bytes (on_long='truncate' cuts the end of such texts)");
        }
        n_bytes = character_start(text, most);
    }
    const std::size_t unbroken = end_of_longest_allowed_run(std::string_view(text).substr(0, n_bytes));
    if (unbroken < n_bytes) {
        if (error) {
            throw InputError(name + " " + shown(text) + " has more than " + std::to_string(kLongestRun) +
                             " characters of one kind in a row, before byte " + std::to_string(unbroken) +
                             ": expected text (on_long='truncate' cuts it there)");
        }
        n_bytes = unbroken;
    }
    return n_bytes;
}

TokenWindows::TokenWindows(const Tokenizer& tokenizer, std::size_t n_ctx, int n_threads,
                           const std::vector<std::string>& texts, const EmbedRequest& request,
                           const ForkWatch& fork_watch)
    : tokenizer_(tokenizer),
      n_ctx_(n_ctx),
      n_threads_(n_threads),
      texts_(texts),
      request_(request),
      fork_watch_(fork_watch) {}

TokenWindows::~TokenWindows() {
    stop_ = true;
    if (fork_watch_.forked())
        (void)ahead_.release();  // its destructor would wait for a thread that only the parent has
}

TokenWindow TokenWindows::tokenize(std::size_t first, std::size_t end,
                                   const std::function<void()>& on_text) const {
    TokenWindow window;
    window.texts.reserve(end - first);
    window.positions.reserve(end - first);
    for (std::size_t i = first; i < end; ++i) {
        const std::size_t shown_index = request_.indices.empty() ? i : request_.indices[i];
        check_text(texts_[i], shown_index);
        on_text();
        bool cut = false;
        const std::string name = "texts[" + std::to_string(shown_index) + "]";
        if (request_.continuations.empty()) {
            window.texts.push_back(tokenize_text(tokenizer_, texts_[i], request_, n_ctx_, 0, name, cut));
        } else {
            const std::vector<int>& further = request_.continuations[i];
            if (further.size() >= n_ctx_) {
                throw InputError(std::to_string(further.size()) + " tokens follow " + name +
                                 "; the context holds " + std::to_string(n_ctx_));
            }
            TokenizedText text = tokenize_text(tokenizer_, texts_[i], request_, n_ctx_ - further.size(),
                                               further.size(), name, cut);
            text.tokens.insert(text.tokens.end(), further.begin(), further.end());
            window.texts.push_back(std::move(text));
        }
        window.positions.push_back(i);
        if (cut) window.truncated.push_back(i);
    }
    return window;
}

TokenWindow TokenWindows::tokenize_here(std::size_t first, std::size_t end) const {
    // Not after every text: who is asked may have to wait for a lock each time.
    auto asked = std::chrono::steady_clock::now();
    return tokenize(first, end, [&] {
        if (!request_.on_step || std::chrono::steady_clock::now() - asked < kBetweenSteps) return;
        request_.on_step();
        asked = std::chrono::steady_clock::now();
    });
}

void TokenWindows::begin_ahead(std::size_t first, std::size_t end) {
    const auto work = [this, first, end] {
        return tokenize(first, end, [this] {
            if (stop_) throw Stopped{};
        });
    };
    try {
        ahead_ = std::make_unique<std::future<TokenWindow>>(std::async(std::launch::async, work));
    } catch (const std::system_error&) {
        // No thread to be had: who wants these texts tokenises them.
    }
}

TokenWindow TokenWindows::wait_for_ahead() {
    while (ahead_->wait_for(kBetweenSteps) != std::future_status::ready) {
        if (request_.on_step) request_.on_step();
    }
    const auto ahead = std::move(ahead_);
    return ahead->get();
}

bool TokenWindows::next(TokenWindow& window) {
    if (taken_ >= texts_.size()) return false;
    const std::size_t end = std::min(taken_ + kTextsPerWindow, texts_.size());
    if (ahead_) {
        window = wait_for_ahead();
    } else {
        const bool two_threads = n_threads_ > 1 && end - taken_ >= kTextsWorthAThread;
        const std::size_t middle = two_threads ? taken_ + (end - taken_) / 2 : end;
        if (middle < end) begin_ahead(middle, end);
        window = tokenize_here(taken_, middle);
        if (middle < end) append(window, ahead_ ? wait_for_ahead() : tokenize_here(middle, end));
    }
    taken_ = end;
    if (taken_ < texts_.size()) begin_ahead(taken_, std::min(taken_ + kTextsPerWindow, texts_.size()));
    return true;
}

}  // namespace fastplr
