// Predicts with a classifier that was saved by Python's PLRClassifier.save(), without Python.
//
//     fastplr-predict CLASSIFIER MODEL < texts.txt
//
// One text a line on standard input, in UTF-8. One line a text on standard output: the label, then the
// probability of each label in the classifier's order, separated by tabs. MODEL is the GGUF file that the
// classifier was trained on (`fastplr models path NAME` prints where that is). Errors go to standard error,
// with exit status 1.
#include <cstddef>
#include <exception>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "fastplr/classifier.hpp"

namespace {

std::vector<std::string> read_lines(std::istream& in) {
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line.back() == '\r') line.pop_back();
        lines.push_back(line);
    }
    return lines;
}

std::size_t most_probable(const double* probabilities, std::size_t n_classes) {
    std::size_t best = 0;
    for (std::size_t k = 1; k < n_classes; ++k) {
        if (probabilities[k] > probabilities[best]) best = k;
    }
    return best;
}

void run(const std::string& classifier_path, const std::string& model_path) {
    fastplr::Classifier classifier = fastplr::Classifier::load(classifier_path, model_path);
    const std::vector<std::string>& labels = classifier.data().labels;
    const std::vector<std::string> texts = read_lines(std::cin);
    const std::vector<double> probabilities = classifier.predict_proba(texts);

    std::cout.precision(std::numeric_limits<double>::max_digits10);
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const double* row = probabilities.data() + i * labels.size();
        std::cout << labels[most_probable(row, labels.size())];
        for (std::size_t k = 0; k < labels.size(); ++k) std::cout << '\t' << row[k];
        std::cout << '\n';
    }
    std::cout.flush();
    if (!std::cout) throw std::runtime_error("standard output cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: fastplr-predict CLASSIFIER MODEL < texts.txt\n";
        return 1;
    }
    try {
        run(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::cerr << "fastplr-predict: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
