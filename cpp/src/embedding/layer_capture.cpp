#include "embedding/layer_capture.hpp"

#include <algorithm>
#include <cstring>

#include "ggml-backend.h"
#include "ggml.h"

namespace fastplr {

LayerCapture::LayerCapture(int n_layers, int n_embd, bool ends_with_block)
    : n_layers_(n_layers), n_embd_(n_embd), ends_with_block_(ends_with_block) {}

void LayerCapture::want(const std::vector<int>& layers) {
    wanted_.clear();
    for (const int layer : layers) {
        Wanted wanted{layer, {}};
        if (layer == 0) {
            // The rows looked up in the embedding table, before any scaling or position is added.
            wanted.names = {"embd"};
        } else if (layer == kOutputNormLayer) {
            // Encoders of the BERT kind normalise inside each block and have no output norm of their own;
            // libllama renames the last state where it pools nothing.
            wanted.names = {"result_norm", "final_norm_out", "result_embd", "result_embd_pooled"};
        } else {
            wanted.names = {"l_out-" + std::to_string(layer - 1)};
            if (ends_with_block_ && layer == n_layers_)
                wanted.names.insert(wanted.names.end(), {"result_embd", "result_embd_pooled"});
        }
        wanted_.push_back(std::move(wanted));
    }
}

bool LayerCapture::wants(const char* name) const {
    return std::any_of(wanted_.begin(), wanted_.end(),
                       [name](const Wanted& wanted) { return wanted.is_in(name); });
}

int LayerCapture::depth() const {
    int depth = 0;
    for (const Wanted& wanted : wanted_) {
        depth = std::max(depth, wanted.layer == kOutputNormLayer ? n_layers_ + 1 : wanted.layer);
    }
    return depth;
}

void LayerCapture::begin(std::vector<Segment> segments, std::vector<PooledSums*> sums, std::size_t n_rows) {
    segments_ = std::move(segments);
    sums_ = std::move(sums);
    n_rows_ = n_rows;
    bad_shape_.clear();
    for (Wanted& wanted : wanted_) wanted.captured = false;
}

void LayerCapture::check_graph(const std::string& architecture) const {
    for (const Wanted& wanted : wanted_) {
        if (wanted.in_graph) continue;
        throw UnsupportedArchitecture("layer " + std::to_string(wanted.layer) + " of the architecture '" +
                                      architecture +
                                      "' cannot be reached: llama.cpp's graph has no tensor '" +
                                      wanted.names.front() + "' (layer=-1, the output, may work)");
    }
}

void LayerCapture::finish(const std::string& architecture) const {
    check_graph(architecture);
    if (!bad_shape_.empty()) {
        throw UnsupportedArchitecture("the architecture '" + architecture + "' " + bad_shape_);
    }
    for (const Wanted& wanted : wanted_) {
        if (!wanted.captured) {
            throw ModelError("llama.cpp did not compute layer " + std::to_string(wanted.layer) +
                             " of the architecture '" + architecture + "'");
        }
    }
}

bool LayerCapture::on_eval(ggml_tensor* tensor, bool ask, void* self) {
    return static_cast<LayerCapture*>(self)->on_tensor(tensor, ask);
}

int LayerCapture::on_graph(ggml_cgraph* graph, void* self) {
    return static_cast<LayerCapture*>(self)->n_wanted_nodes(graph);
}

int LayerCapture::n_wanted_nodes(ggml_cgraph* graph) {
    const int n_nodes = ggml_graph_n_nodes(graph);
    // Nodes are in the order of computation: what a node needs stands before it.
    int last = 0;
    for (Wanted& wanted : wanted_) {
        int node = 0;
        while (node < n_nodes && !wanted.is_in(ggml_graph_node(graph, node)->name)) ++node;
        wanted.in_graph = node < n_nodes;
        last = std::max(last, node);
    }
    return std::min(last + 1, n_nodes);
}

bool LayerCapture::Wanted::is_in(const char* name) const {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool LayerCapture::on_tensor(ggml_tensor* tensor, bool ask) {
    // One tensor may be several wanted layers: one that is asked for twice, or the last block and the output
    // of an encoder without an output norm.
    const auto is_new = [&](const Wanted& wanted) { return !wanted.captured && wanted.is_in(tensor->name); };
    // Asked: is this tensor wanted? A callback that is not asked for it is not called for it either.
    if (ask) return std::any_of(wanted_.begin(), wanted_.end(), is_new);
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
        if (!is_new(wanted_[i])) continue;
        add_rows(i, tensor);
        wanted_[i].captured = true;
    }
    return true;
}

void LayerCapture::add_rows(std::size_t wanted_index, const ggml_tensor* tensor) {
    const auto width = static_cast<std::size_t>(n_embd_);
    const auto rows = static_cast<std::size_t>(ggml_nrows(tensor));
    if (tensor->type != GGML_TYPE_F32 || tensor->ne[0] != n_embd_ || rows != n_rows_ ||
        !ggml_is_contiguous(tensor)) {
        bad_shape_ = "gives '" + std::string(tensor->name) + "' as " + ggml_type_name(tensor->type) + " [" +
                     std::to_string(tensor->ne[0]) + ", " + std::to_string(rows) + "]: expected f32 [" +
                     std::to_string(n_embd_) + ", " + std::to_string(n_rows_) + "]";
        return;
    }
    const float* data = static_cast<const float*>(tensor->data);
    if (tensor->buffer != nullptr && !ggml_backend_buffer_is_host(tensor->buffer)) {
        staging_.resize(rows * width);
        ggml_backend_tensor_get(tensor, staging_.data(), 0, staging_.size() * sizeof(float));
        data = staging_.data();
    }
    for (std::size_t s = 0; s < segments_.size(); ++s) {
        const Segment& segment = segments_[s];
        PooledSums& target = *sums_[s];
        if (wanted_index == 0 && target.tokens.directions != nullptr)
            score_rows(segment, target.tokens, data);
        for (std::size_t p = 0; p < target.ranges.size(); ++p) {
            const PoolingRange& range = target.ranges[p];
            const std::size_t begin = std::max(range.begin, segment.first_token);
            const std::size_t end = std::min(range.end, segment.first_token + segment.n_rows);
            double* sum = target.sums.data() + (wanted_index * target.ranges.size() + p) * width;
            for (std::size_t token = begin; token < end; ++token) {
                const float* row = data + (segment.first_row + token - segment.first_token) * width;
                for (std::size_t j = 0; j < width; ++j) sum[j] += static_cast<double>(row[j]);
            }
        }
    }
}

void LayerCapture::score_rows(const Segment& segment, const TokenScoring& tokens, const float* data) const {
    const auto width = static_cast<std::size_t>(n_embd_);
    const std::size_t n_directions = tokens.directions->size() / width;
    const std::size_t begin = std::max(tokens.range.begin, segment.first_token);
    const std::size_t end = std::min(tokens.range.end, segment.first_token + segment.n_rows);
    for (std::size_t token = begin; token < end; ++token) {
        const float* row = data + (segment.first_row + token - segment.first_token) * width;
        double* scores = tokens.scores->data() + (token - tokens.range.begin) * n_directions;
        for (std::size_t d = 0; d < n_directions; ++d) {
            const double* direction = tokens.directions->data() + d * width;
            double sum = 0.0;
            for (std::size_t j = 0; j < width; ++j) sum += direction[j] * static_cast<double>(row[j]);
            scores[d] = sum;
        }
    }
}

}  // namespace fastplr
