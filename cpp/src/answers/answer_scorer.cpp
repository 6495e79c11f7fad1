#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "embedding/text.hpp"
#include "embedding/tokenizer.hpp"
#include "fastplr/answers.hpp"
#include "model/native.hpp"

namespace fastplr {
namespace {

using Tokens = std::vector<int>;

// Texts whose states after further tokens are held at once.
constexpr std::size_t kTextsOfBlock = 512;

bool begins_with(const Tokens& tokens, const Tokens& first) {
    return tokens.size() >= first.size() && std::equal(first.begin(), first.end(), tokens.begin());
}

Tokens answer_tokens(const Tokenizer& tokenizer, const Prompt& prompt, const std::string& answer,
                     std::size_t n_ctx) {
    // What comes before the suffix does not matter to what the answer becomes.
    const std::string text = "text";
    const TokenizedText asked = tokenizer.tokenize(text, prompt);
    const Tokens whole = tokenizer.tokenize(text, {prompt.prefix, prompt.suffix + answer}).tokens;
    if (whole.size() <= asked.tokens.size() || !begins_with(whole, asked.tokens)) {
        throw InputError(
            "the answer " + shown(answer) + " runs together with the end of what asks for it, " +
            shown(prompt.suffix) +
            ": expected words that the model's tokeniser keeps apart, such as by a space before the answer");
    }
    // The model sees all but the last token of an answer, after a token of the text at least.
    const std::size_t n_tokens = whole.size() - asked.tokens.size();
    const std::size_t n_prompt = asked.tokens.size() - (asked.text_end - asked.text_begin);
    if (n_tokens > 1 && n_prompt + n_tokens > n_ctx) {
        throw InputError("the answer " + shown(answer) + " is too long: " + std::to_string(n_tokens) +
                         " tokens after " + std::to_string(n_prompt) +
                         " of the prompt leave no room for a text; the context holds " +
                         std::to_string(n_ctx));
    }
    return {whole.end() - static_cast<std::ptrdiff_t>(n_tokens), whole.end()};
}

}  // namespace

struct AnswerScorer::Impl {
    std::shared_ptr<Embedder> embedder;
    Prompt prompt;
    OutputHead head;
    std::vector<Tokens> answers;
    Tokens firsts;                             // of each answer
    std::map<Tokens, std::set<int>> branches;  // what may follow the beginnings of answers of several tokens

    Impl(std::shared_ptr<Embedder> embedder_, Prompt prompt_)
        : embedder(std::move(embedder_)), prompt(std::move(prompt_)), head(embedder->model().info().path) {}

    void add_branches(const std::vector<std::string>& texts, std::size_t first, std::size_t n,
                      const EmbedRequest& request, double* out) const;
};

AnswerScorer::AnswerScorer(std::shared_ptr<Embedder> embedder, Prompt prompt,
                           const std::vector<std::string>& answers)
    : impl_(std::make_unique<Impl>(std::move(embedder), std::move(prompt))) {
    Impl& impl = *impl_;
    if (answers.size() < 2) {
        throw InputError(std::to_string(answers.size()) + " answers: expected at least two");
    }
    check_utf8(impl.prompt.prefix, "prefix");
    check_utf8(impl.prompt.suffix, "suffix");
    if (impl.prompt.suffix.find_first_not_of(" \t\r\n") == std::string::npos) {
        throw InputError(
            "nothing asks for an answer after the text: expected a prompt with a suffix or a cue, such as "
            "' Answer:'");
    }
    const Tokenizer tokenizer(impl.embedder->model().native().llama.get());
    for (std::size_t i = 0; i < answers.size(); ++i) {
        check_utf8(answers[i], "answers[" + std::to_string(i) + "]");
        if (answers[i].find_first_not_of(" \t\r\n") == std::string::npos) {
            throw InputError("answers[" + std::to_string(i) + "] is " + shown(answers[i]) +
                             ": expected a visible text");
        }
        impl.answers.push_back(answer_tokens(tokenizer, impl.prompt, answers[i],
                                             static_cast<std::size_t>(impl.embedder->n_ctx())));
        impl.firsts.push_back(impl.answers.back().front());
    }
    for (std::size_t a = 0; a < answers.size(); ++a) {
        for (std::size_t b = 0; b < answers.size(); ++b) {
            if (a == b || !begins_with(impl.answers[b], impl.answers[a])) continue;
            if (answers[a] == answers[b]) {
                throw InputError("answers[" + std::to_string(a) + "] and answers[" + std::to_string(b) +
                                 "] are both " + shown(answers[a]) + ": expected different answers");
            }
            throw InputError("the answer " + shown(answers[b]) + " begins with the answer " +
                             shown(answers[a]) +
                             ": expected answers of which none is the beginning of another");
        }
        const Tokens& tokens = impl.answers[a];
        for (std::size_t n = 1; n < tokens.size(); ++n) {
            impl.branches[{tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)}].insert(
                tokens[n]);
        }
    }
}

AnswerScorer::~AnswerScorer() = default;

const std::vector<std::vector<int>>& AnswerScorer::tokens() const { return impl_->answers; }
const OutputHead& AnswerScorer::head() const { return impl_->head; }

void AnswerScorer::Impl::add_branches(const std::vector<std::string>& texts, std::size_t first, std::size_t n,
                                      const EmbedRequest& request, double* out) const {
    EmbedRequest after = request;
    after.layers = {kOutputNormLayer};
    after.poolings = {Pooling::last};
    after.prompt = prompt;
    after.indices.clear();
    after.on_batch = {};
    after.on_progress = {};
    std::vector<std::string> repeated;
    for (std::size_t i = first; i < first + n; ++i) {
        for (const auto& [beginning, next] : branches) {
            repeated.push_back(texts[i]);
            after.indices.push_back(request.indices.empty() ? i : request.indices[i]);
            after.continuations.push_back(beginning);
        }
    }
    const auto width = static_cast<std::size_t>(embedder->model().n_embd());
    std::vector<float> states(repeated.size() * width);
    (void)embedder->embed(repeated, after, states.data());
    std::vector<double> normalisers(repeated.size());
    head.log_normalisers(states.data(), repeated.size(), embedder->n_threads(), normalisers.data(),
                         request.on_step);

    std::size_t branch = 0;
    std::vector<float> of_branch(n * width);  // the head is read once for all texts
    for (const auto& [beginning, next] : branches) {
        const Tokens tokens(next.begin(), next.end());
        for (std::size_t i = 0; i < n; ++i) {
            std::copy_n(states.data() + (i * branches.size() + branch) * width, width,
                        of_branch.data() + i * width);
        }
        std::vector<double> logits(n * tokens.size());
        head.logits(of_branch.data(), n, tokens, logits.data());
        for (std::size_t a = 0; a < answers.size(); ++a) {
            if (answers[a].size() <= beginning.size() || !begins_with(answers[a], beginning)) continue;
            const auto token = std::find(tokens.begin(), tokens.end(), answers[a][beginning.size()]);
            const auto column = static_cast<std::size_t>(token - tokens.begin());
            for (std::size_t i = 0; i < n; ++i) {
                out[(first + i) * answers.size() + a] +=
                    logits[i * tokens.size() + column] - normalisers[i * branches.size() + branch];
            }
        }
        ++branch;
    }
}

void AnswerScorer::logits(const std::vector<std::string>& texts, const float* states,
                          const EmbedRequest& request, double* out) const {
    const Impl& impl = *impl_;
    impl.head.logits(states, texts.size(), impl.firsts, out);
    if (impl.branches.empty()) return;
    for (std::size_t first = 0; first < texts.size(); first += kTextsOfBlock) {
        const std::size_t n = std::min(kTextsOfBlock, texts.size() - first);
        impl.add_branches(texts, first, n, request, out);
        if (request.on_progress) request.on_progress(first + n, texts.size());
    }
}

}  // namespace fastplr
