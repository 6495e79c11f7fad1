// One context with all that it takes to compute batches in it. Several lanes on one model compute side by
// side, each its own batches.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "embedding/batches.hpp"
#include "embedding/context.hpp"
#include "embedding/layer_capture.hpp"
#include "embedding/shared_prefix.hpp"
#include "embedding/side_by_side.hpp"

namespace fastplr {

/// Tokens that continue what the context holds, and where their states are added up.
struct Sequence {
    TokenSpan tokens;
    std::size_t n_shared;  ///< of them, how many are the tokens of the sequence before, and computed there
    PooledSums* sums;
};

/// What a lane must be ready for.
struct LaneNeeds {
    std::vector<int> layers;
    std::size_t n_ctx = 0;            ///< tokens whose keys and values are kept at once
    std::size_t n_batch = 0;          ///< tokens computed at once
    bool long_rope = false;           ///< see Context::use_long_rope()
    TokenSpan prefix;                 ///< tokens that all texts continue from, none where nothing is shared
    std::vector<std::size_t> begins;  ///< see shared_begins()
};

class Lane {
  public:
    /// \param max_threads more than that never work on a batch of this lane.
    Lane(const Model& model, int max_threads);

    /// Makes a context that has room for all that is needed; what it could hold before, it still can. Throws
    /// as Context does.
    void prepare(const LaneNeeds& needs);

    /// Threads that compute from now on, in [1, max_threads].
    void use_threads(int n_threads);

    /// Whether the context holds the prefix that is needed, from an earlier call.
    bool holds_prefix(const LaneNeeds& needs) const;

    /// Has the context hold it. Returns how many tokens were computed for it: none where it was there. Throws
    /// as Context::decode().
    std::size_t hold_prefix(const LaneNeeds& needs, const IsStopped& is_stopped);
    const SharedPrefix& prefix() const { return prefix_; }

    /// Copies the prefix that another lane on the same model holds.
    void take_prefix(Lane& other);

    /// Computes texts that continue the prefix, and forgets all but the prefix. One that is alone may be
    /// longer than a batch: it is computed in pieces. Returns how many tokens were computed. Throws as
    /// Context::decode().
    std::size_t run(const std::vector<Sequence>& texts, const IsStopped& is_stopped);

    /// Only after prepare().
    const Context& context() const { return *context_; }

  private:
    void drop_context();
    std::size_t run_pieces(const TokenSpan& tokens, PooledSums& sums, std::size_t first_token,
                           const IsStopped& is_stopped);
    std::size_t run_batch(const std::vector<Sequence>& batch, std::size_t first_token,
                          const IsStopped& is_stopped);

    const Model& model_;
    int max_threads_;
    LayerCapture capture_;
    std::unique_ptr<Context> context_;
    SharedPrefix prefix_;  ///< what the context holds; without tokens where it holds nothing
};

}  // namespace fastplr
