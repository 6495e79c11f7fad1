// What is said of a model's size before it is loaded, against what llama.cpp then makes of the file.
//
// FASTPLR_TEST_MODELS, set by tests/python/test_cpp_core.py, is a folder with a model of every architecture.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "check.hpp"
#include "fastplr/model.hpp"
#include "model/weight_bytes.hpp"

namespace {

void check_sizes(const std::string& path) {
    const fastplr::gguf::File file = fastplr::gguf::open(path);
    const fastplr::ModelInfo info = fastplr::model_info_of(file);
    const auto n_layers = static_cast<int>(info.n_layers);
    for (int layer = fastplr::kAllLayers; layer <= n_layers; ++layer) {
        fastplr::ModelOptions options;
        options.max_layer = layer;
        const auto model = fastplr::Model::load(path, options);
        const bool all = model->max_layer() == fastplr::kAllLayers;
        const auto n_blocks = static_cast<std::uint64_t>(all ? n_layers : std::max(layer, 1));
        if (fastplr::weight_bytes(file, info, n_blocks) != model->n_bytes_loaded()) {
            check::fail(__FILE__, __LINE__,
                        info.architecture + " up to layer " + std::to_string(layer) + ": " +
                            std::to_string(fastplr::weight_bytes(file, info, n_blocks)) + " bytes, loaded " +
                            std::to_string(model->n_bytes_loaded()));
        }
    }
}

}  // namespace

TEST_CASE("the size that is checked is the size that is loaded") {
    const char* folder = std::getenv("FASTPLR_TEST_MODELS");
    if (folder == nullptr) {
        std::cout << "skipped: FASTPLR_TEST_MODELS names no folder (tests/python/test_cpp_core.py sets it)\n";
        return;
    }
    int n_models = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        check_sizes(entry.path().string());
        ++n_models;
    }
    CHECK(n_models > 10);
}
