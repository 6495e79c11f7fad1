// Every allocation of a load, of an embedding and of a classifier's file fails once, and from there on all of
// them do: what comes out is our own error, never the end of the process, and the next call computes what it
// would have.
//
// The model files come from the environment, as for test_libllama_pooling.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "classifier_data.hpp"
#include "failing_allocations.hpp"
#include "fastplr/embedder.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/model.hpp"

using fastplr::ContextMemoryError;
using fastplr::Embedder;
using fastplr::Model;
using fastplr::ModelMemoryError;

namespace {

// An embedder, and all that a call needs of its caller's memory.
struct Call {
    std::unique_ptr<Embedder> embedder;
    std::vector<std::string> texts;
    fastplr::EmbedRequest request;
    std::vector<float> out;

    explicit Call(std::shared_ptr<const Model> model) {
        for (std::size_t i = 0; i < 3; ++i) {
            texts.push_back("number " + std::to_string(i) + ": the film is slow" + std::string(20 * i, 'x'));
        }
        request.layers = {2};
        request.poolings = {fastplr::Pooling::mean};
        request.prompt = {"Is it good? ", ""};
        out.resize(texts.size() * static_cast<std::size_t>(model->n_embd()));
        renew(std::move(model));
    }

    void renew(std::shared_ptr<const Model> model) {
        fastplr::EmbedderOptions options;
        options.n_batch = 64;
        options.n_threads = 2;  // the second one is there to be refused
        embedder = std::make_unique<Embedder>(std::move(model), options);
    }

    void operator()() { embedder->embed(texts, request, out.data()); }
};

// Calls `work` with the allocations from the first to the last failing in turn, and `after` each time.
// Returns how many calls ended in `Expected`; llama.cpp can do without some of what it asks for.
template <typename Expected>
int errors_of(const std::function<void()>& work, const std::function<void()>& after) {
    int n_errors = 0;
    for (const bool and_all_later : {false, true}) {
        for (long first = 0;; ++first) {
            {
                const FailingAllocations failing(first, and_all_later);
                try {
                    work();
                } catch (const Expected&) {
                    ++n_errors;
                }
            }
            if (!FailingAllocations::happened()) break;
            after();
        }
    }
    return n_errors;
}

void check_model(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        std::cout << "skipped: " << variable << " names no model (tests/python/test_cpp_core.py sets it)\n";
        return;
    }
    std::shared_ptr<const Model> model = Model::load(path);
    Call call(model);
    call();
    const std::vector<float> want = call.out;
    const auto still_computes = [&] {
        std::fill(call.out.begin(), call.out.end(), 0.0f);
        call();
        CHECK(call.out == want);
    };

    CHECK(errors_of<ModelMemoryError>([&] { (void)Model::load(path); }, [] {}) > 100);
    still_computes();
    // With a context that is yet to be made, then with one that is there.
    CHECK(errors_of<ContextMemoryError>(std::ref(call), [&] {
              still_computes();
              call.renew(model);
          }) > 100);
    still_computes();
    CHECK(errors_of<ContextMemoryError>(std::ref(call), still_computes) > 20);
}

}  // namespace

TEST_CASE("a decoder") { check_model("FASTPLR_TEST_MODEL"); }
TEST_CASE("a decoder whose weights are packed for the kernels") { check_model("FASTPLR_TEST_MODEL_Q4_0"); }
TEST_CASE("an encoder") { check_model("FASTPLR_TEST_MODEL_BERT"); }

TEST_CASE("a classifier file") {
    const Folder folder;
    const std::string path = folder / "c";
    ClassifierData data = two_classes();
    data.annotations.assign(5000, 'a');
    data.training.features.assign(2000, 0.5f);
    data.training.codes.assign(1000, 1);
    data.training.weights.assign(1000, 1.0);
    data.training.held_out_logits.assign(1000, kNan);
    fastplr::save_classifier(data, path);
    const auto still_there = [&] {
        check_equal(fastplr::read_classifier(path), data);
        CHECK(folder.n_files() == 1);
    };
    CHECK(errors_of<std::bad_alloc>([&] { fastplr::save_classifier(data, path); }, still_there) > 10);
    CHECK(errors_of<std::bad_alloc>([&] { (void)fastplr::read_classifier(path); }, still_there) > 10);
}
