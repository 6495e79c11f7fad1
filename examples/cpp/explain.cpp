// Explains the decisions of a classifier that was saved by Python's PLRClassifier.save(), without Python.
//
//     fastplr-explain CLASSIFIER MODEL < texts.txt
//
// One text a line on standard input, in UTF-8. Of each text a line for every word on standard output: the
// word and what it adds to the first logit (two classes: of the second label), separated by a tab; then
// "base" and what no word has; then "without" and the fewest words without which the label is another one, if
// such were found; then an empty line. MODEL is as of fastplr-predict. Errors go to standard error, with exit
// status 1.
#include "fastplr/explain.hpp"

#include <exception>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "fastplr/classifier.hpp"
#include "fastplr/counterfactual.hpp"

namespace {

void run(const std::string& classifier_path, const std::string& model_path) {
    fastplr::Classifier classifier = fastplr::Classifier::load(classifier_path, model_path);
    std::vector<std::string> texts;
    for (std::string line; std::getline(std::cin, line);) texts.push_back(line);

    const auto explained = fastplr::explain(classifier.embedder(), classifier.data(), texts);
    const auto found = fastplr::find_counterfactuals(classifier.embedder(), classifier.data(), texts);

    const std::size_t n_rows = classifier.data().n_rows();
    std::cout.precision(std::numeric_limits<double>::max_digits10);
    for (std::size_t t = 0; t < texts.size(); ++t) {
        const auto word = [&](const fastplr::TextSpan& span) {
            return texts[t].substr(span.begin, span.end - span.begin);
        };
        for (std::size_t i = 0; i < explained[t].spans.size(); ++i)
            std::cout << word(explained[t].spans[i]) << '\t' << explained[t].values[i * n_rows] << '\n';
        std::cout << "base\t" << explained[t].base[0] << '\n';
        if (!found[t].removed.empty()) {
            std::cout << "without";
            for (const std::size_t i : found[t].removed) std::cout << '\t' << word(found[t].spans[i]);
            std::cout << '\n';
        }
        std::cout << '\n';
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: fastplr-explain CLASSIFIER MODEL < texts.txt\n";
        return 1;
    }
    try {
        run(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::cerr << "fastplr-explain: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
