// The texts of a call as tokens, one window of them at a time; the first window is tokenised by two threads,
// every other one while the one before it is computed.
#pragma once

#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "embedding/fork_guard.hpp"
#include "embedding/tokenizer.hpp"

namespace fastplr {

/// Texts in a window: some tens of batches, so that a batch that is not full at its end costs next to
/// nothing.
inline constexpr std::size_t kTextsPerWindow = 512;

struct TokenWindow {
    std::vector<TokenizedText> texts;
    std::vector<std::size_t> positions;  ///< of its texts among the texts of the call
    std::vector<std::size_t> truncated;  ///< positions, among the texts of the call, of those that were cut
};

/// Takes the texts of more than `n_tokens` tokens out of the window, `truncated` stays whole.
TokenWindow take_longer_than(std::size_t n_tokens, TokenWindow& window);

/// Bytes of `text` that are worth tokenising in a context of `n_ctx` tokens: what surely does not fit is not
/// looked at. Throws InputError, with `name`, for a text that is too long unless such texts are cut.
std::size_t bytes_to_tokenize(const Tokenizer& tokenizer, const std::string& text, std::size_t n_ctx,
                              OnLong on_long, const std::string& name);

/// Use from one thread. What it is made of must outlive it.
class TokenWindows {
  public:
    /// \param n_ctx tokens that a text may have, prompt included.
    /// \param n_threads more than 1 allows a second thread for the first window.
    TokenWindows(const Tokenizer& tokenizer, std::size_t n_ctx, int n_threads,
                 const std::vector<std::string>& texts, const EmbedRequest& request,
                 const ForkWatch& fork_watch);
    ~TokenWindows();
    TokenWindows(const TokenWindows&) = delete;
    TokenWindows& operator=(const TokenWindows&) = delete;

    /// Takes the next window, and has the one after it begun; false at the end. Throws InputError (a text
    /// that is empty, blank, not UTF-8, or too long), ModelError, and what the request's on_step throws.
    bool next(TokenWindow& window);

  private:
    TokenWindow tokenize(std::size_t first, std::size_t end, const std::function<void()>& on_text) const;
    TokenWindow tokenize_here(std::size_t first, std::size_t end) const;
    void begin_ahead(std::size_t first, std::size_t end);
    TokenWindow wait_for_ahead();

    const Tokenizer& tokenizer_;
    std::size_t n_ctx_;
    int n_threads_;
    const std::vector<std::string>& texts_;
    const EmbedRequest& request_;
    const ForkWatch& fork_watch_;
    std::size_t taken_ = 0;
    std::atomic<bool> stop_ = false;
    std::unique_ptr<std::future<TokenWindow>> ahead_;
};

}  // namespace fastplr
